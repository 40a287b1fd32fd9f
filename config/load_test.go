package config

import (
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpcprobe/probes"
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

// says asserts what is said of a text, exactly.
func says(t *testing.T, o Options, text string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, complaints(t, o, text)); diff != "" {
		t.Errorf("%s\n(-want +got)\n%s", text, diff)
	}
}

// target is a target that is right; keys are added to it.
const target = `targets:
  - name: orders
    api: a1b2c3d4e5
    region: eu-west-1
    stage: prod
    path: /health
`

// domain is a custom domain that is right.
const domain = `targets:
  - name: web
    kind: custom-domain
    domain: api.example.com
`

func TestDefaults(t *testing.T) {
	got := load(t, target).Config
	want := Config{
		Listen: "127.0.0.1:9643", HealthListen: "127.0.0.1:9644", Every: 30 * time.Second, WhileFailing: 30 * time.Second, Timeout: 5 * time.Second,
		FollowUp: true, IPFamily: "both", Concurrency: 256,
		Metrics: Metrics{OTLP: OTLP{Every: time.Minute}},
		Log:     Log{Level: "info", Format: "text"}, Reload: Reload{Every: 10 * time.Second},
		Targets: []*probes.Target{{
			Name:   "orders",
			Kind:   probes.PrivateAPI,
			API:    "a1b2c3d4e5",
			Region: "eu-west-1",
			Stage:  "prod",
			Path:   "/health",
			Settings: &probes.Settings{
				Method:       "GET",
				Via:          []probes.Via{probes.ViaPrivateDNS},
				Resolvers:    []string{"system"},
				IPFamily:     "both",
				Port:         443,
				FollowUp:     true,
				KeyExchange:  "classical",
				Every:        30 * time.Second,
				WhileFailing: 30 * time.Second,
				Timeout:      5 * time.Second,
			},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryKey(t *testing.T) {
	l := load(t, `
listen: 0.0.0.0:9000
every: 1m
while_failing: 2s
timeout: 1500ms
pace: {trace: 5m}
follow_up: false
ip_family: ipv6
concurrency: 7
metrics: {native_histograms: true, emf: true}
log: {level: debug, format: json}
reload: {every: 1s, http: true}
web_config_file: web.yaml
targets:
  - name: web
    kind: custom-domain
    domain: API.Example.com
    region: cn-north-1
    dns_suffix: amazonaws.com.cn
    path: /v1?deep=1
    method: POST
    via: [domain]
    endpoint: {id: vpce-0a1b2c3d, dns_name: vpce-0a1b2c3d-x.execute-api.cn-north-1.vpce.amazonaws.com.cn, addresses: [10.0.1.17, "::ffff:10.0.1.18", fd00::1]}
    resolvers: [system, 10.0.0.2, "[fd00::2]:5353", fd00::2]
    ip_family: both
    port: 8443
    sign: true
    profile: probe
    api_key: {env: KEY}
    headers: [{name: x-tenant, value: "a: b"}, {name: X-Token, secret: {file: token}}]
    body: |
      {"n": 1}
    expect: {status: [200, 204], body: ^ok, json: [{path: a.0, value: 01}]}
    control: {url: "https://checkip.example:8443/ip?v=4", status: [200], body: "^[0-9.]+$"}
    recognize: [{finding: throttled, status: 418, header: "X-E: y", body: slow}]
    follow_up: true
    key_exchange: hybrid
    trust: {ca_file: /etc/ca.pem}
    client_certificate: {certificate: a/client.pem, key: ./client.key, truststore: ../bundle.pem}
    every: 20s
    while_failing: 1s
    timeout: 3s
    pace: {invoke: 1h}
`)
	folder := filepath.Dir(l.Origins["listen"].File)
	want := Config{
		Listen: "0.0.0.0:9000", HealthListen: "127.0.0.1:9644", Every: time.Minute, WhileFailing: 2 * time.Second, Timeout: 1500 * time.Millisecond,
		Pace: map[string]time.Duration{"trace": 5 * time.Minute}, IPFamily: "ipv6", Concurrency: 7,
		Metrics: Metrics{NativeHistograms: true, EMF: true, OTLP: OTLP{Every: time.Minute}}, Log: Log{Level: "debug", Format: "json"},
		Reload: Reload{Every: time.Second, HTTP: true}, WebConfigFile: folder + "/web.yaml",
		Targets: []*probes.Target{{
			Name:      "web",
			Kind:      probes.CustomDomain,
			Domain:    "api.example.com",
			Region:    "cn-north-1",
			DNSSuffix: "amazonaws.com.cn",
			Path:      "/v1?deep=1",
			Settings: &probes.Settings{
				Method: "POST",
				Via:    []probes.Via{probes.ViaDomain},
				Endpoint: probes.Endpoint{
					ID: "vpce-0a1b2c3d", DNSName: "vpce-0a1b2c3d-x.execute-api.cn-north-1.vpce.amazonaws.com.cn",
					Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.17"), netip.MustParseAddr("10.0.1.18"), netip.MustParseAddr("fd00::1")},
				},
				Resolvers:         []string{"system", "10.0.0.2:53", "[fd00::2]:5353", "[fd00::2]:53"},
				IPFamily:          "both",
				Port:              8443,
				Sign:              true,
				Profile:           "probe",
				APIKey:            probes.Secret{Env: "KEY"},
				Headers:           []probes.Header{{Name: "X-Tenant", Value: "a: b"}, {Name: "X-Token", Secret: probes.Secret{File: folder + "/token"}}},
				Body:              "{\"n\": 1}\n",
				Expect:            probes.Expect{Status: []int{200, 204}, Body: "^ok", JSON: []probes.Equals{{Path: "a.0", Value: "01"}}},
				Control:           probes.Control{URL: "https://checkip.example:8443/ip?v=4", Status: []int{200}, Body: "^[0-9.]+$"},
				Recognize:         []probes.Recognize{{Finding: "throttled", Status: 418, Header: "X-E: y", Body: "slow"}},
				FollowUp:          true,
				KeyExchange:       "hybrid",
				Trust:             probes.Trust{CAFile: "/etc/ca.pem"},
				ClientCertificate: probes.ClientCertificate{Certificate: folder + "/a/client.pem", Key: folder + "/client.key", Truststore: filepath.Dir(folder) + "/bundle.pem"},
				Every:             20 * time.Second,
				WhileFailing:      time.Second,
				Timeout:           3 * time.Second,
				Pace:              map[string]time.Duration{"invoke": time.Hour, "trace": 5 * time.Minute},
			},
		}},
	}
	if diff := cmp.Diff(want, l.Config, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestInheritance(t *testing.T) {
	l := load(t, `
every: 20s
while_failing: 4s
timeout: 2s
pace: {trace: 5m, invoke: 1m}
follow_up: false
ip_family: ipv4
targets:
  - {name: a, kind: custom-domain, domain: a.example}
  - {name: b, kind: custom-domain, domain: b.example, every: 1s, timeout: 1s, follow_up: true, ip_family: both, pace: {trace: 1m}}
  - {name: c, kind: custom-domain, domain: c.example, while_failing: 1s, follow_up: false, ip_family: ipv6}
`)
	type inherits struct {
		Every, WhileFailing, Timeout, Trace, Invoke time.Duration
		FollowUp                                    bool
		IPFamily                                    string
	}
	want := []inherits{
		{20 * time.Second, 4 * time.Second, 2 * time.Second, 5 * time.Minute, time.Minute, false, "ipv4"},
		{time.Second, time.Second, time.Second, time.Minute, time.Minute, true, "both"}, // never less often while failing
		{20 * time.Second, time.Second, 2 * time.Second, 5 * time.Minute, time.Minute, false, "ipv6"},
	}
	for i, c := range l.Targets {
		got := inherits{c.Every, c.WhileFailing, c.Timeout, c.Pace["trace"], c.Pace["invoke"], c.FollowUp, c.IPFamily}
		if got != want[i] {
			t.Errorf("%s: got %v, want %v", c.Name, got, want[i])
		}
	}
}

// The expected finding is one or several; either way it is a set.
func TestExpectedFindings(t *testing.T) {
	l := load(t, "targets:\n"+
		"  - {name: a, kind: custom-domain, domain: x.example, expect: {finding: throttled}}\n"+
		"  - {name: b, kind: custom-domain, domain: x.example, expect: {finding: [throttled, api-key-rejected]}}\n"+
		"  - {name: c, kind: custom-domain, domain: x.example, expect: {finding: \"${env:F}\"}}\n"+
		"  - {name: d, kind: custom-domain, domain: x.example, expect: {finding: }}\n", "F=waf-blocked")
	want := [][]string{{"throttled"}, {"throttled", "api-key-rejected"}, {"waf-blocked"}, nil}
	for i, c := range l.Targets {
		if !slices.Equal(c.Expect.Finding, want[i]) {
			t.Errorf("%s: got %v, want %v", c.Name, c.Expect.Finding, want[i])
		}
	}
	again := load(t, printed(t, l, true), "F=waf-blocked")
	for i, c := range again.Targets {
		if !slices.Equal(c.Expect.Finding, want[i]) {
			t.Errorf("%s, printed: got %v, want %v", c.Name, c.Expect.Finding, want[i])
		}
	}
}

// What one target inherits and adds to is neither the top level's nor another's.
func TestInheritedPaces(t *testing.T) {
	l := load(t, "pace: {trace: 5m}\n"+domain+
		"  - {name: b, kind: custom-domain, domain: b.example, pace: {resolve: 1m}}\n")
	want := []map[string]time.Duration{{"trace": 5 * time.Minute}, {"trace": 5 * time.Minute, "resolve": time.Minute}, l.Pace}
	for i, got := range []map[string]time.Duration{l.Targets[0].Pace, l.Targets[1].Pace, {"trace": 5 * time.Minute}} {
		if !maps.Equal(got, want[i]) {
			t.Errorf("%d: got %v, want %v", i, got, want[i])
		}
	}
}

// Thousands of targets that are alike hold their settings once, and those that
// differ the lists, mappings and texts in which they don't.
func TestEqualPartsAreShared(t *testing.T) {
	l := load(t, domain+"    resolvers: [10.0.0.2]\n    pace: {trace: 5m}\n    endpoint: {addresses: [10.0.1.17]}\n"+
		"  - {name: b, kind: custom-domain, domain: x.example, resolvers: [10.0.0.2], pace: {trace: 5m}, endpoint: {addresses: [10.0.1.17]}}\n"+
		"  - {name: b2, kind: custom-domain, domain: x.example, port: 8443, resolvers: [10.0.0.2], pace: {trace: 5m}, endpoint: {addresses: [10.0.1.17]}}\n"+
		"  - {name: c, kind: custom-domain, domain: c.example, resolvers: [10.0.0.3], pace: {trace: 6m}, endpoint: {addresses: [10.0.1.18]}}\n")
	a, b, other, c := l.Targets[0], l.Targets[1], l.Targets[2], l.Targets[3]
	pace := func(t *probes.Target) uintptr { return reflect.ValueOf(t.Pace).Pointer() }
	if &a.Resolvers[0] != &other.Resolvers[0] || &a.Endpoint.Addresses[0] != &other.Endpoint.Addresses[0] || pace(a) != pace(other) {
		t.Error("equal lists or mappings are not one")
	}
	if a.Settings != b.Settings || a.Settings == other.Settings {
		t.Error("equal settings are not one, or different ones are")
	}
	if c.Resolvers[0] != "10.0.0.3:53" || c.Endpoint.Addresses[0] != netip.MustParseAddr("10.0.1.18") || c.Pace["trace"] != 6*time.Minute {
		t.Errorf("different ones are one: %+v", c)
	}
}

func TestUnreadableFiles(t *testing.T) {
	_, err := Load(Options{Path: filepath.Join(t.TempDir(), "none.yaml")})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	folder := t.TempDir()
	_, err = Load(Options{Path: folder})
	if want := "reading the configuration: " + folder + " is a folder: name the file in it"; err == nil || err.Error() != want {
		t.Errorf("a folder: got %v, want %s", err, want)
	}
	path := write(t, strings.Repeat("# nothing\n", largest/10+1))
	_, err = Load(Options{Path: path})
	if want := path + ": is larger than 16 MiB, which no configuration is\n1 problem. Nothing was started."; err == nil || err.Error() != want {
		t.Errorf("a huge file: got %v, want %s", err, want)
	}
}

// The file that the documentation begins with, and the one for beginners.
func TestExamplesLoad(t *testing.T) {
	for _, path := range []string{"testdata/orders.yaml", "starter.yaml"} {
		if _, err := Load(Options{Path: path, Kinds: []string{"trace"}, Findings: []string{"api-key-missing"}}); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Containers without files of their own are given the whole configuration in
// the environment.
func TestConfigurationInTheEnvironment(t *testing.T) {
	l, err := Load(Options{Path: "env:VPCPROBE_FILE", Env: []string{"VPCPROBE_FILE=" + target}})
	if err != nil {
		t.Fatal(err)
	}
	if len(l.Targets) != 1 || l.Targets[0].Name != "orders" {
		t.Errorf("got %v", l.Targets)
	}
	_, err = Load(Options{Path: "env:VPCPROBE_FILE"})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "environment variable VPCPROBE_FILE is not set") {
		t.Errorf("got %v", err)
	}
}
