package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// Whatever the file holds, Load either says what is wrong and where, or returns
// a configuration that can be printed and loaded again, and that the schema
// accepts.
func FuzzLoad(f *testing.F) {
	orders, err := os.ReadFile("testdata/orders.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, text := range []string{
		"", target, domain, Starter(), uncommented(Starter()), string(orders),
		"a: &a [x]\nb: *a\n", "every: 15\n---\n...\n", "\t- x\n", "? [a]\n: {b: c, <<: d}\n", "targets: [{name: !!str a}, ~, x, [y]]\n",
		domain + "    body: \"\\0\\u2028$${${env:A}\"\n    headers: [{name: a, value: ''}]\n    pace: {trace: 1h0.5ms}\n    method: POST\n",
		"\xff\xfe-\x00 \x00", "%YAML 1.1\n---\na: b\n", "a: >-\n  b\n\n   c\n", "'': ''\n\"a\\\n b\": c\n",
	} {
		f.Add([]byte(text))
	}
	schema := compile(f, []string{"trace"}, []string{"throttled"})
	f.Fuzz(func(t *testing.T, text []byte) {
		o := Options{Path: "/etc/vpcprobe/config.yaml", Kinds: []string{"trace"}, Findings: []string{"throttled"}, Env: []string{"A=b", "B=1s\n#: {["}}
		l, err := Parse(text, o)
		if err != nil {
			assertPlaces(t, err)
			return
		}
		assertSame(t, o, l)
		assertSchema(t, schema, text)
	})
}

func assertPlaces(t *testing.T, err error) {
	t.Helper()
	problems, ok := errors.AsType[Problems](err)
	if !ok || len(problems) == 0 {
		t.Fatalf("no problems, but %#v", err)
	}
	for _, p := range problems {
		if p.Line < 1 || p.Column < 1 || p.Message == "" || strings.ContainsAny(p.String(), "\n\x1b\x00") {
			t.Errorf("a problem of no use: %q", p)
		}
	}
}

func assertSame(t *testing.T, o Options, l *Loaded) {
	t.Helper()
	again := printed(t, l, true)
	if strings.Contains(again, redacted) {
		return // its secrets are gone
	}
	second, err := Parse([]byte(again), o)
	if err != nil {
		t.Fatalf("what is printed does not load:\n%s\n%v", again, err)
	}
	if diff := cmp.Diff(l.Config, second.Config, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("what is printed is another configuration:\n%s\n%s", again, diff)
	}
}

func assertSchema(t *testing.T, schema *jsonschema.Schema, text []byte) {
	t.Helper()
	var doc any
	if yaml.Unmarshal(text, &doc) != nil || holdsTime(doc) {
		return // other readers take a date for a text
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return // JSON has no .inf
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(instance); err != nil {
		t.Errorf("the schema refuses\n%s\n%#v", text, err)
	}
}

func holdsTime(doc any) bool {
	switch v := doc.(type) {
	case time.Time:
		return true
	case []any:
		for _, item := range v {
			if holdsTime(item) {
				return true
			}
		}
	case map[string]any:
		for _, item := range v {
			if holdsTime(item) {
				return true
			}
		}
	}
	return false
}

// No environment makes Load panic, and none changes what it does not name.
func FuzzEnvironment(f *testing.F) {
	f.Add("VPCPROBE_EVERY", "1s")
	f.Add("VPCPROBE_LOG_LEVEL", "${env:X}")
	f.Add("VPCPROBE_PORT_1_TCP", "x")
	f.Add("VPCPROBE_", "=")
	f.Fuzz(func(t *testing.T, name, value string) {
		o := Options{Path: "/etc/vpcprobe/config.yaml"}
		plain, err := Parse([]byte(target), o)
		if err != nil {
			t.Fatal(err)
		}
		o.Env = []string{name + "=" + value}
		name, value, _ = strings.Cut(o.Env[0], "=")
		l, err := Parse([]byte(target), o)
		if err != nil {
			problems, ok := errors.AsType[Problems](err)
			if !ok || len(problems) != 1 || problems[0].File != "environment" || problems[0].Key != name {
				t.Fatalf("%q=%q: %v", name, value, err)
			}
			return
		}
		if !strings.HasPrefix(name, prefix) && cmp.Diff(plain.Config, l.Config) != "" {
			t.Errorf("%q=%q changed the configuration", name, value)
		}
	})
}
