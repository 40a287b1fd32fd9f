package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write puts a configuration file into a folder of its own.
func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load loads a text that must be right.
func load(t testing.TB, text string, env ...string) *Loaded {
	t.Helper()
	l, err := Load(Options{Path: write(t, text), Env: env})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// complaints loads a text that must be wrong, and returns what is said of it
// without the folder of the file.
func complaints(t testing.TB, o Options, text string) []string {
	t.Helper()
	o.Path = write(t, text)
	_, err := Load(o)
	problems, ok := err.(Problems)
	if !ok {
		t.Fatalf("got %v, want problems", err)
	}
	var lines []string
	for _, p := range problems {
		lines = append(lines, strings.TrimPrefix(p.String(), filepath.Dir(o.Path)+"/"))
	}
	return lines
}
func TestTry(t *testing.T){
	b,_:=os.ReadFile("/tmp/issue.yaml")
	l:=load(t,string(b))
	for _,w:=range l.Warnings {t.Log(w)}
	t.Logf("%+v %+v", *l.Targets[0], *l.Targets[1])
	for _,c:=range complaints(t,Options{Kinds:[]string{"trace"},Findings:[]string{"private-dns-off"},Env:[]string{"VPCPROBE_EVRY=3","VPCPROBE_PORT_9643_TCP=x","VPCPROBE_TIMEOUT=3"}},`
listen: 1
Every: 30
every: 30
interval: 5s
log: 5
reload: {every: 1d}
pace: {trcae: 5m}
targets:
  - name: a
    kind: private
    api_ID: 5
    port: 0443
    sign: yes
    dns_name: x
    expect: {finding: private-dns-of}
  - name: a
    api_key: hunter2
    headers: [{name: host, value: x}, {name: x-a}, {name: X-A, value: "a\nb"}]
    every: 1ms
    via: domain
  - {name: c, kind: custom-domain, domain: 10.0.0.1, stage: x, sign: true, resolvers: [10.0.0.2, "10.0.0.2:53", x], client_certificate: {key: x}}
`){t.Log(c)}
}
