package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/viper"

	"vpcprobe/probes"
)

// The tests of this file are named for what viper, or YAML behind it, does to
// a configuration that is decoded in the usual way. Each was measured.

// every: 15 becomes 15 nanoseconds.
func TestTrapNumberWithoutUnit(t *testing.T) {
	says(t, Options{}, "every: 15\ntimeout: 0\n"+target,
		`config.yaml:1:8: every: "15" has no unit (try "15s")`,
		`config.yaml:2:10: timeout: "0" has no unit (try "0s")`)
}

// Ids that look like numbers become other numbers.
func TestTrapIdsThatLookLikeNumbers(t *testing.T) {
	for _, id := range []string{"0123456701", "12345678e1", "00e1234567", "1234567890", "0b11011010", "0x1f", "1e5", "true", "0o17", "y", "20260102"} {
		l := load(t, strings.Replace(target, "a1b2c3d4e5", id, 1))
		if got := l.Targets[0].API; got != id {
			t.Errorf("api: %s became %s", id, got)
		}
	}
}

// Unquoted dates, versions and sexagesimal numbers in texts stay as written, too.
func TestTrapTextsThatLookLikeOtherTypes(t *testing.T) {
	for _, text := range []string{"1_000", "2026-01-02", "1.10", "12:30:45", ".5", "0777", "no", "on", "+1", "1e400", ".nan"} {
		l := load(t, domain+"    body: "+text+"\n    method: POST\n")
		if got := l.Targets[0].Body; got != text {
			t.Errorf("body: %s became %s", text, got)
		}
	}
}

// Map keys are lower-cased, so Listen and listen are one, and the last wins.
func TestTrapCaseOfKeys(t *testing.T) {
	says(t, Options{}, "Listen: 127.0.0.1:1\n"+target,
		`config.yaml:1:1: Listen: unknown key (did you mean "listen"?)`)
	says(t, Options{}, "listen: 127.0.0.1:1\nListen: 127.0.0.1:2\n"+target,
		`config.yaml:2:1: Listen: given twice: first on line 1 (keys are lower-case, and each is given once)`)
	says(t, Options{}, target+"    Port: 1\n    port: 2\n",
		`config.yaml:7:5: targets[0].Port: unknown key (did you mean "port"?)`,
		`config.yaml:8:5: targets[0].port: given twice: first on line 7 (keys are lower-case, and each is given once)`)
}

// Names whose case matters are values of list items, never keys.
func TestTrapCaseOfHeaderNames(t *testing.T) {
	l := load(t, domain+`    headers: [{name: x-TENANT-id, value: MixedCase}]
    expect: {json: [{path: Data.itemCount, value: Two}]}
`)
	if got, want := l.Targets[0].Headers[0], (probes.Header{Name: "X-Tenant-Id", Value: "MixedCase"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := l.Targets[0].Expect.JSON[0], (probes.Equals{Path: "Data.itemCount", Value: "Two"}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Keys with dots are split into sections.
func TestTrapDotsInKeys(t *testing.T) {
	says(t, Options{}, "log.level: debug\n"+target,
		`config.yaml:1:1: log.level: unknown key (did you mean "log"?)`)
	says(t, Options{Kinds: []string{"trace"}}, "pace: {trace.x: 5m}\n"+target,
		`config.yaml:1:8: pace.trace.x: unknown kind of probe (did you mean "trace"?): one of trace`)
}

// Unmarshal leaves out what the environment gives for a key that the file lacks.
func TestTrapEnvironmentWithoutKeyInFile(t *testing.T) {
	l := load(t, target, "VPCPROBE_RELOAD_EVERY=1m", "VPCPROBE_METRICS_EMF=true")
	if l.Reload.Every != time.Minute || !l.Metrics.EMF {
		t.Errorf("got %v and %v", l.Reload, l.Metrics)
	}
}

// The environment does not reach the elements of lists: it is refused there,
// and ${env:NAME} reaches them.
func TestTrapEnvironmentForListElements(t *testing.T) {
	says(t, Options{Env: []string{"VPCPROBE_TARGETS_0_NAME=x"}}, target,
		`environment: VPCPROBE_TARGETS_0_NAME: unknown variable`)
	l := load(t, strings.Replace(target, "prod", "${env:STAGE}", 1), "STAGE=test")
	if got := l.Targets[0].Stage; got != "test" {
		t.Errorf("stage: got %s", got)
	}
}

// Unknown keys pass Unmarshal, and have no line even when they do not.
func TestTrapUnknownKeys(t *testing.T) {
	says(t, Options{}, "\nlistne: 127.0.0.1:1\n"+target+"    api_ID: x\n    endpoint: {dnsname: x}\n",
		`config.yaml:2:1: listne: unknown key (did you mean "listen"?)`,
		`config.yaml:9:5: targets[0].api_ID: unknown key (did you mean "api"?)`,
		`config.yaml:10:16: targets[0].endpoint.dnsname: unknown key (did you mean "dns_name"?)`)
}

// Weak decoding makes a truth value of any number or text.
func TestTrapTruthValues(t *testing.T) {
	for text, want := range map[string]string{
		"2": "", "1": " (try true)", "0": " (try false)", "yes": " (try true)", "off": " (try false)", `""`: "", "True": " (try true)", "t": " (try true)", "enabled": "",
	} {
		shown := `"` + strings.Trim(text, `"`) + `"`
		says(t, Options{}, target+"    sign: "+text+"\n",
			`config.yaml:7:11: targets[0].sign: `+shown+` is not true or false`+want)
	}
}

// Weak decoding turns 0443 into 291.
func TestTrapOctalNumbers(t *testing.T) {
	for text, want := range map[string]string{
		"0443": `is not a plain decimal number (try 443)`, "0x1bb": `is not a whole number (try 443)`, "443.0": `is not a whole number (try 443)`,
		"4_4_3": `is not a whole number (try 443)`, "+443": `is not a plain decimal number (try 443)`, "0": `is not between 1 and 65535`, "65536": `is not between 1 and 65535`,
		"-1": `is not between 1 and 65535`, "99999999999999999999": `is not between 1 and 65535`, "https": `is not a whole number`, "true": `is not a whole number`,
	} {
		says(t, Options{}, target+"    port: "+text+"\n", `config.yaml:7:11: targets[0].port: "`+text+`" `+want)
	}
}

// A mapping is taken for a list of one, a scalar for a list of one, and so on.
func TestTrapShapes(t *testing.T) {
	says(t, Options{}, "targets: {name: x}\n", `config.yaml:1:10: targets: must be a list, not a mapping: begin each item with "- "`)
	says(t, Options{}, "targets: orders\n", `config.yaml:1:10: targets: must be a list, not a single value (try [orders])`)
	says(t, Options{}, "targets: [orders]\n", `config.yaml:1:11: targets[0]: must be a mapping of keys to values, not a single value`)
	says(t, Options{}, target+"    path: [/a]\n    via: endpoint\n",
		`config.yaml:7:5: targets[0].path: given twice: first on line 6 (keys are lower-case, and each is given once)`,
		`config.yaml:8:10: targets[0].via: must be a list, not a single value (try [endpoint])`)
	says(t, Options{}, target+"    method: [GET]\n    endpoint: [x]\n    expect: {status: 200}\n    port: {}\n",
		`config.yaml:7:13: targets[0].method: must be a single value, not a list`,
		`config.yaml:8:15: targets[0].endpoint: must be a mapping of keys to values, not a list`,
		`config.yaml:9:22: targets[0].expect.status: must be a list, not a single value (try [200])`,
		`config.yaml:10:11: targets[0].port: must be a single value, not a mapping`)
	says(t, Options{}, "- a\n", `config.yaml:1:1: must be a mapping of keys to values, not a list`)
	says(t, Options{}, "a\n", `config.yaml:1:1: must be a mapping of keys to values, not a single value`)
	says(t, Options{}, "log: debug\npace: 5m\n"+target,
		`config.yaml:1:6: log: must be a mapping of keys to values, not a single value`,
		`config.yaml:2:7: pace: must be a mapping of keys to values, not a single value`)
}

// A map's default is lost when one of its keys is given.
func TestTrapDefaultsBesideGivenKeys(t *testing.T) {
	l := load(t, "log: {format: json}\n"+target)
	if want := (Log{Level: "info", Format: "json"}); l.Log != want {
		t.Errorf("got %v, want %v", l.Log, want)
	}
}

// A key without a value counts as set; for us it is absent.
func TestTrapNull(t *testing.T) {
	l := load(t, "every:\nlog:\npace: ~\nreload: {every: null}\n"+target+"    endpoint:\n    port:\n    via:\n    resolvers:\n")
	got := l.Targets[0]
	if l.Every != 30*time.Second || l.Log.Level != "info" || l.Reload.Every != 10*time.Second ||
		got.Port != 443 || len(got.Via) != 1 || len(got.Resolvers) != 1 {
		t.Errorf("the defaults are lost: %+v %+v", l.Config, got)
	}
	says(t, Options{}, "targets:\n", `config.yaml:1:1: targets: is missing`)
	says(t, Options{}, "targets:\n  - name:\n    kind: custom-domain\n    domain: x\n  -\n",
		`config.yaml:2:5: targets[0].name: is missing`,
		`config.yaml:5:4: targets[1]: an empty item`)
}

// A second YAML document is ignored.
func TestTrapSecondDocument(t *testing.T) {
	says(t, Options{}, target+"---\nlisten: 127.0.0.1:1\n",
		`config.yaml:7:1: a second YAML document: the configuration is one document`)
	load(t, "---\n"+target+"...\n")
}

// A key given twice is an error of YAML, reported alone and without a column.
func TestTrapDuplicateKeys(t *testing.T) {
	says(t, Options{}, "every: 1s\nevery: 2\nlisten: x\n"+target,
		`config.yaml:2:1: every: given twice: first on line 1 (keys are lower-case, and each is given once)`,
		`config.yaml:3:9: listen: "x" is not an address with a port (an example: 127.0.0.1:9643)`)
}

// Aliases multiply: ten lines of them are a billion values.
func TestTrapAliases(t *testing.T) {
	says(t, Options{}, "pace: &p {trace: 5m}\n"+target+"    pace: *p\n",
		`config.yaml:1:7: pace: anchors are not supported: remove the &p`,
		`config.yaml:8:11: targets[0].pace: aliases are not supported: write the value out`)
	says(t, Options{}, target+"    endpoint: {<<: {id: vpce-0a1b2c3d}}\n",
		`config.yaml:7:16: targets[0].endpoint.<<: merge keys are not supported: write the values out`)
	bomb := "a: &a [x, x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1)
	}
	if got := complaints(t, Options{}, bomb+target); len(got) != 25+24*4+25 {
		t.Errorf("%d problems: each anchor, each alias and each key is one", len(got))
	}
}

func TestTrapTags(t *testing.T) {
	says(t, Options{}, strings.Replace(target, "prod", "!!str prod", 1),
		`config.yaml:5:12: targets[0].stage: YAML tags are not supported: remove the !!str`)
	says(t, Options{}, "every: !!int 5\n"+target,
		`config.yaml:1:8: every: YAML tags are not supported: remove the !!int`,
		`config.yaml:1:8: every: "5" has no unit (try "5s")`)
}

// A file without the extension .yaml is of an unsupported type.
func TestTrapFileWithoutExtension(t *testing.T) {
	for _, name := range []string{"config", "config.conf", "config.json", ".vpcprobe", "..2026_01_02"} {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(target), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(Options{Path: path}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Nothing that is loaded shares state with another load: a reload builds a
// whole new configuration.
func TestTrapReloadSharesNothing(t *testing.T) {
	path := write(t, target)
	before, err := Load(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("every: 5\n"+target), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Options{Path: path}); err == nil {
		t.Fatal("a bad file was loaded")
	}
	if err := os.WriteFile(path, []byte("every: 7s\n"+strings.Replace(target, "orders", "new", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	after, err := Load(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if before.Every != 30*time.Second || before.Targets[0].Name != "orders" || after.Every != 7*time.Second || after.Targets[0].Name != "new" {
		t.Errorf("before %v %v, after %v %v", before.Every, before.Targets[0].Name, after.Every, after.Targets[0].Name)
	}
}

// The traps are real: this is what viper does to the same texts by itself. If
// it stops doing so, the codec may be more than is needed.
func TestTrapsAreReal(t *testing.T) {
	v := viper.New()
	v.SetConfigType("yaml")
	text := "every: 15\napi: 0123456701\nid: 12345678e1\nheaders: {X-Tenant: a}\nLISTEN: b\n---\nsecond: c\n"
	if err := v.ReadConfig(strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	got := []any{v.GetDuration("every"), v.GetString("api"), v.GetString("id"), v.Get("headers"), v.Get("listen"), v.Get("second")}
	want := []any{15 * time.Nanosecond, "21913025", "123456780", map[string]any{"x-tenant": "a"}, "b", nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
