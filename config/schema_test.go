package config

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// compile returns the schema, ready to judge.
func compile(t testing.TB, kinds, findings []string) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(kinds, findings)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("config.json") // checks it against its own meta-schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// judge validates a text as an editor does: with a YAML reader that takes
// 0123456701 for a number.
func judge(t testing.TB, s *jsonschema.Schema, text string) error {
	t.Helper()
	var doc any
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(instance)
}

func TestSchemaAcceptsWhatLoads(t *testing.T) {
	s := compile(t, []string{"resolve", "connect", "trace", "invoke"}, []string{"throttled", "api-key-missing"})
	orders, err := os.ReadFile("testdata/orders.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		target, domain, Starter(), uncommented(Starter()), string(orders), printed(t, load(t, target), true),
		"every: ${env:E}\nfollow_up: ${env:F}\nconcurrency: ${env:N}\nlog: {level: '${env:L}'}\n" + target,
		"every:\nlog:\npace:\nmetrics: {emf: }\n" + target + "    endpoint:\n    via:\n    port:\n    sign: \"true\"\n    method: ~\n",
		strings.Replace(target, "a1b2c3d4e5", "0123456701", 1), strings.Replace(target, "a1b2c3d4e5", "12345678e1", 1),
		strings.Replace(target, "a1b2c3d4e5", "true", 1), strings.Replace(target, "orders", "2026", 1),
		target + "    port: \"8443\"\n    body: 5\n    expect: {finding: throttled}\n    pace: {trace: 1h30m}\n",
		domain + "    expect: {finding: [throttled, api-key-missing]}\n", domain + "    expect: {finding: ~}\n",
		domain + "    control: {url: \"https://checkip.amazonaws.com/\", status: [200], body: x}\n",
		domain + "    expect: {status: [200], json: [{path: a, value: true}, {path: b, value: 1.5}, {path: c, value: 2026-01-02}]}\n",
		"targets: [{name: '${env:N}', kind: '${env:K}', domain: x.example}]",
	} {
		if _, err := Load(Options{
			Path: write(t, text), Kinds: []string{"resolve", "connect", "trace", "invoke"}, Findings: []string{"throttled", "api-key-missing"},
			Env: []string{"E=1s", "F=true", "N=1", "L=info", "K=custom-domain"},
		}); err != nil {
			t.Errorf("Load: %v\n%s", err, text)
		}
		if err := judge(t, s, text); err != nil {
			t.Errorf("schema: %#v\n%s", err, text)
		}
	}
}

func TestSchemaRefusesMistakes(t *testing.T) {
	o := Options{Kinds: []string{"trace"}, Findings: []string{"throttled"}}
	s := compile(t, o.Kinds, o.Findings)
	for _, text := range []string{
		"", "targets:\n", "targets: []\n", "targets: x\n", "targets: {name: x}\n", "targets: [x]\n", "- a\n",
		"every: 15\n" + target, "every: 1d\n" + target, "every: ''\n" + target, "listne: x\n" + target, "log: debug\n" + target,
		"log: {level: loud}\n" + target, "pace: {tracing: 5m}\n" + target, "follow_up: 1\n" + target, "follow_up: yes!\n" + target,
		"concurrency: 0\n" + target, "concurrency: many\n" + target,
		"targets: [{name: a}]", "targets: [{name: a, kind: custom-domain}]", "targets: [{kind: custom-domain, domain: x}]",
		"targets: [{name: a, kind: private-api, api: b}]", "targets: [{name: a, kind: private, api: b, region: eu-west-1}]",
		target + "    port: 0\n", target + "    port: 65536\n", target + "    port: https\n", target + "    method: GETT\n",
		target + "    via: endpoint\n", target + "    via: [vpce]\n", target + "    endpoint: vpce-0a1b2c3d\n", target + "    endpoint: {id: vpc-1}\n",
		target + "    api_key: hunter2\n", target + "    api_key: {}\n", target + "    api_key: {file: 1, value: 2}\n",
		target + "    headers: [{name: X-A}]\n", target + "    headers: [{value: x}]\n", target + "    headers: [{name: 'X A', value: x}]\n",
		target + "    expect: {status: 200}\n", target + "    expect: {status: [99]}\n", target + "    expect: {finding: slow}\n",
		target + "    expect: {finding: [throttled, slow]}\n", target + "    expect: {finding: {throttled: 1}}\n",
		target + "    control: https://y.example/\n", target + "    control: {status: [200]}\n", target + "    control: {url: 'http://y.example/'}\n",
		target + "    control: {url: 'https://me@y.example/'}\n", target + "    control: {url: 'https://y.example/#a'}\n",
		target + "    recognize: [{finding: throttled}]\n", target + "    client_certificate: {certificate: a}\n",
		strings.Replace(target, "eu-west-1", "Ireland", 1), strings.Replace(target, "orders", "a b", 1), strings.Replace(target, "/health", "health", 1),
	} {
		complaints(t, o, text) // fails unless Load refuses it, too
		if judge(t, s, text) == nil {
			t.Errorf("the schema accepts\n%s", text)
		}
	}
}

// Every key has a meaning, and a default or an example that it would accept.
func TestTagsAreComplete(t *testing.T) {
	d := newDecoder(Options{})
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, path string) {
		written := slices.DeleteFunc(reflect.VisibleFields(typ), func(f reflect.StructField) bool { return f.Anonymous })
		if len(written) != len(fieldsOf(typ)) {
			t.Errorf("%s has fields without a key", typ)
		}
		for _, f := range fieldsOf(typ) {
			at := join(path, f.Key)
			if !strings.HasSuffix(f.Doc, ".") {
				t.Errorf("%s: its meaning %q is no sentence", at, f.Doc)
			}
			switch shapeOf(f.Type) {
			case mapping:
				walk(f.Type, at)
				continue
			case pacing:
				continue
			case list:
				if f.Type = element(f.Type); shapeOf(f.Type) == mapping {
					walk(f.Type, at+"[]")
					continue
				}
			}
			for _, text := range []string{f.Default, f.Example} {
				if _, err := d.scalar(text, f, "/"); text != "" && err != nil {
					t.Errorf("%s: %v", at, err)
				}
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
}

// uncommented is a starter file with all of its examples switched on: they
// begin with # directly before the setting, while comments have a space there.
func uncommented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		if rest, ok := strings.CutPrefix(line[len(indent):], "#"); ok && (indent != "" || !strings.HasPrefix(rest, " ")) {
			if example := !strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "  "); example {
				line = indent + rest
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

func TestStarterShowsEveryKey(t *testing.T) {
	text := uncommented(Starter())
	l := load(t, text)
	if len(l.Targets) != 2 {
		t.Fatalf("%d targets:\n%s", len(l.Targets), text)
	}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for _, f := range fieldsOf(typ) {
			if !strings.Contains(Starter(), f.Key+":") && f.Key != "env" {
				t.Errorf("%s is not in the starter file", f.Key)
			}
			switch shapeOf(f.Type) {
			case mapping:
				walk(f.Type)
			case list:
				if e := element(f.Type); shapeOf(e) == mapping {
					walk(e)
				}
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func TestReference(t *testing.T) {
	got := Reference()
	for _, want := range []string{
		"| `every` | duration, at least 100ms | `30s` | How often to walk each target. |\n",
		"## `targets[].client_certificate`\n",
		"| `name` | text, `^[!#$%&'*+.^_\\|~0-9A-Za-z-]+$` | required | The header's name. Example: `X-Tenant`. |\n",
		"| `VPCPROBE_LOG_LEVEL` | `log.level` |\n",
		"| `timeout` | duration, at least 10ms | the top level's |",
		"| `resolvers` | list: `system`, or address:port | `system` |",
		Starter(),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the reference lacks %s", want)
		}
	}
}
