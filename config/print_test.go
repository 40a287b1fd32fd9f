package config

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// printed is what [Loaded.Print] writes.
func printed(t testing.TB, l *Loaded, origins bool) string {
	t.Helper()
	var b bytes.Buffer
	if err := l.Print(&b, origins); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPrint(t *testing.T) {
	l := load(t, `
every: 1m
pace: {trace: 90m}
targets:
  - name: web
    kind: custom-domain
    domain: ${env:DOMAIN}
    api_key: {file: key}
    method: POST
    body: "$${\n"
    headers:
      - {name: authorization, value: Basic dXNlcjpwYXNz}
      - {name: X-Note, value: "Bearer abcdefgh"}
      - {name: X-Empty, value: ""}
      - {name: X-Env, value: "${env:TOKEN}"}
    expect: {status: [200]}
    timeout: 2500ms
`, "DOMAIN=api.example.com", "TOKEN=hunter2", "VPCPROBE_LOG_LEVEL=debug")
	folder := filepath.Dir(l.Origins["every"].File)
	want := `listen: 127.0.0.1:9643 # default
health_listen: 127.0.0.1:9644 # default
every: 1m # config.yaml:2:8
while_failing: 1m # config.yaml:2:8 (every)
timeout: 5s # default
pace:
  trace: 1h30m # config.yaml:3:15
follow_up: true # default
ip_family: both # default
concurrency: 256 # default
metrics:
  native_histograms: false # default
  emf: false # default
  otlp:
    every: 1m # default
log:
  level: debug # env VPCPROBE_LOG_LEVEL
  format: text # default
reload:
  every: 10s # default
  http: false # default
targets:
  - name: web # config.yaml:5:11
    kind: custom-domain # config.yaml:6:11
    domain: ${env:DOMAIN} # config.yaml:7:13
    path: / # default
    method: POST # config.yaml:9:13
    via:
      - domain # default
    resolvers:
      - system # default
    ip_family: both # default (ip_family)
    port: 443 # default
    sign: false # default
    api_key:
      file: /key # config.yaml:8:21
    headers:
      - name: Authorization # config.yaml:12:16
        value: '[redacted]' # config.yaml:12:38
      - name: X-Note # config.yaml:13:16
        value: Bearer [redacted] # config.yaml:13:31
      - name: X-Empty # config.yaml:14:16
        value: "" # config.yaml:14:32
      - name: X-Env # config.yaml:15:16
        value: ${env:TOKEN} # config.yaml:15:30
    body: "$${\n" # config.yaml:10:11
    expect:
      status:
        - 200 # config.yaml:16:23
    follow_up: true # default (follow_up)
    key_exchange: classical # default
    every: 1m # config.yaml:2:8 (every)
    while_failing: 1m # config.yaml:2:8 (every)
    timeout: 2.5s # config.yaml:17:14
    pace:
      trace: 1h30m # config.yaml:3:15 (pace.trace)
`
	got := strings.NewReplacer(folder+"/config.yaml", "config.yaml", folder+"/key", "/key").Replace(printed(t, l, true))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := printed(t, l, false); strings.Contains(got, "#") {
		t.Errorf("comments, though none were asked for:\n%s", got)
	}
}

// What is printed loads again, as the same configuration.
func TestPrintIsAFile(t *testing.T) {
	env := []string{"VPCPROBE_LISTEN=:1", "A=b"}
	for _, text := range []string{
		target, Starter(), target + "    endpoint: {addresses: [fd00::1]}\n    resolvers: [\"[fd00::2]:53\"]\n",
		strings.Replace(target, "a1b2c3d4e5", "0123456701", 1), strings.Replace(target, "a1b2c3d4e5", "true", 1),
		"while_failing: 1s\nevery: 300ms\npace: {trace: 1h1s}\n" + target + "    follow_up: false\n    every: 30h\n",
		domain + "    method: POST\n    body: \"a: b # c\\n\\t'\\\"\\\\ \\u2028 \\u00e9 \\0 $${env:A} ${env:A}\"\n    expect: {json: [{path: a, value: 0x10}, {path: b, value: 'null'}, {path: c, value: ~x}]}\n",
		domain + "    method: POST\n    body: |\n      first\n\n        second  \n    headers: [{name: X-A, value: ' '}, {name: X-B, value: ''}]\n",
	} {
		assertRoundTrip(t, text, env)
	}
}

// assertRoundTrip fails unless a text, printed, loads as the same again.
func assertRoundTrip(t *testing.T, text string, env []string) {
	t.Helper()
	l := load(t, text, env...)
	for _, origins := range []bool{false, true} {
		again := printed(t, l, origins)
		second, err := Load(Options{Path: write(t, again), Env: env})
		if err != nil {
			t.Errorf("%s\nis printed as\n%s\n%v", text, again, err)
			continue
		}
		if diff := cmp.Diff(l.Config, second.Config, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s\nis printed as\n%s\n%s", text, again, diff)
		}
	}
}
