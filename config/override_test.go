package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPrecedence(t *testing.T) {
	path := write(t, "every: 1m\ntimeout: 1s\nlog: {level: error}\n"+target)
	o := Options{
		Path:  path,
		Env:   []string{"VPCPROBE_TIMEOUT=2s", "VPCPROBE_LOG_LEVEL=warn", "VPCPROBE_LISTEN=", "OTHER=x", "VPCPROBE_CONFIG=x"},
		Flags: map[string]string{"log.level": "debug"},
	}
	l, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key       string
		got, want any
		origin    string
	}{
		{"listen", l.Listen, "127.0.0.1:9643", "default"}, // an empty variable is as good as none
		{"every", l.Every, time.Minute, path + ":1:8"},
		{"timeout", l.Timeout, 2 * time.Second, "env VPCPROBE_TIMEOUT"},
		{"log.level", l.Log.Level, "debug", "flag --log-level"},
		{"log.format", l.Log.Format, "text", "default"},
		{"while_failing", l.WhileFailing, time.Minute, path + ":1:8 (every)"},
		{"targets[0].timeout", l.Targets[0].Timeout, 2 * time.Second, "env VPCPROBE_TIMEOUT (timeout)"},
		{"targets[0].while_failing", l.Targets[0].WhileFailing, time.Minute, path + ":1:8 (every)"},
		{"targets[0].method", l.Targets[0].Method, "GET", "default"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.key, tt.got, tt.want)
		}
		if got := l.Origins[tt.key].String(); got != tt.origin {
			t.Errorf("%s: comes from %q, want %q", tt.key, got, tt.origin)
		}
	}
}

// A target's own value stands against the environment's value for all.
func TestTargetsOutweighTheEnvironment(t *testing.T) {
	l := load(t, target+"    every: 1m\n    while_failing: 50s\n", "VPCPROBE_EVERY=2s", "VPCPROBE_WHILE_FAILING=1s")
	if got := l.Targets[0]; got.Every != time.Minute || got.WhileFailing != 50*time.Second {
		t.Errorf("every %v, while_failing %v", got.Every, got.WhileFailing)
	}
}

func TestEveryScalarHasAVariable(t *testing.T) {
	l := load(t, target,
		"VPCPROBE_LISTEN=:1", "VPCPROBE_EVERY=2s", "VPCPROBE_WHILE_FAILING=1s", "VPCPROBE_TIMEOUT=3s", "VPCPROBE_FOLLOW_UP=false", "VPCPROBE_IP_FAMILY=ipv6",
		"VPCPROBE_CONCURRENCY=4", "VPCPROBE_METRICS_NATIVE_HISTOGRAMS=true", "VPCPROBE_METRICS_EMF=true", "VPCPROBE_LOG_LEVEL=error",
		"VPCPROBE_LOG_FORMAT=json", "VPCPROBE_RELOAD_EVERY=5s", "VPCPROBE_RELOAD_HTTP=true", "VPCPROBE_WEB_CONFIG_FILE=web.yaml",
		"VPCPROBE_HEALTH_LISTEN=off", "VPCPROBE_METRICS_OTLP_ENDPOINT=http://127.0.0.1:4318", "VPCPROBE_METRICS_OTLP_EVERY=9s")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Listen: ":1", HealthListen: "off", Every: 2 * time.Second, WhileFailing: time.Second, Timeout: 3 * time.Second, IPFamily: "ipv6", Concurrency: 4,
		Metrics: Metrics{NativeHistograms: true, EMF: true, OTLP: OTLP{"http://127.0.0.1:4318", 9 * time.Second}}, Log: Log{"error", "json"}, Reload: Reload{5 * time.Second, true},
		WebConfigFile: filepath.Join(here, "web.yaml"), // as a shell understands it, not as the file does
		Targets:       l.Targets,
	}
	if diff := cmp.Diff(want, l.Config); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesOutsideOfTheFile(t *testing.T) {
	says(t, Options{
		Env: []string{
			"VPCPROBE_EVRY=1s", "VPCPROBE_TIMEOUT=1", "VPCPROBE_LOG_LEVEL=loud", "VPCPROBE_PACE=trace", "VPCPROBE_FOLLOW_UP=1",
			"VPCPROBE_PORT_NUMBER=1", "vpcprobe_every=1", "VPCPROBEX=1",
		},
		Flags: map[string]string{"every": "", "log.levle": "x", "reload.http": "no"},
	}, "log: {level: laud}\n"+target,
		`config.yaml:1:14: log.level: "laud" is not one of debug, info, warn, error`,
		`command line: --every: "" is not a duration (try "1m30s")`,
		`command line: --log-levle: unknown key`,
		`command line: --reload-http: "no" is not true or false (try false)`,
		`environment: VPCPROBE_EVRY: unknown variable (did you mean "VPCPROBE_EVERY"?)`,
		`environment: VPCPROBE_FOLLOW_UP: "1" is not true or false (try true)`,
		`environment: VPCPROBE_LOG_LEVEL: "loud" is not one of debug, info, warn, error`,
		`environment: VPCPROBE_PACE: unknown variable`,
		`environment: VPCPROBE_PORT_NUMBER: unknown variable`,
		`environment: VPCPROBE_TIMEOUT: "1" has no unit (try "1s")`,
	)
}

// Kubernetes sets these for services called vpcprobe and vpcprobe-metrics in
// the pod's namespace. They would otherwise stop the agent as soon as it has a
// service.
func TestServiceLinksAreIgnored(t *testing.T) {
	load(t, target,
		"VPCPROBE_SERVICE_HOST=10.96.0.7", "VPCPROBE_SERVICE_PORT=9643", "VPCPROBE_SERVICE_PORT_HTTP_METRICS=9643",
		"VPCPROBE_PORT=tcp://10.96.0.7:9643", "VPCPROBE_PORT_9643_TCP=tcp://10.96.0.7:9643", "VPCPROBE_PORT_9643_TCP_PROTO=tcp",
		"VPCPROBE_PORT_9643_TCP_PORT=9643", "VPCPROBE_PORT_9643_TCP_ADDR=10.96.0.7",
		"VPCPROBE_METRICS_SERVICE_HOST=10.96.0.8", "VPCPROBE_METRICS_PORT_80_TCP=tcp://10.96.0.8:80", "VPCPROBE_METRICS_PORT=tcp://10.96.0.8:80")
}

func TestExpansion(t *testing.T) {
	l := load(t, `
every: ${env:PACE}
targets:
  - name: ${env:STAGE}-orders
    api: "${env:VPCPROBE_API}"
    region: eu-west-1
    stage: ${env:STAGE}
    path: /$${env:X}/${env:ODD}$
    port: ${env:PORT}
`, "PACE=2m", "STAGE=prod", "VPCPROBE_API=0123456701", "ODD=a=$$b", "PORT=8443")
	got := l.Targets[0]
	if l.Every != 2*time.Minute || got.Name != "prod-orders" || got.API != "0123456701" || got.Path != "/${env:X}/a=$$b$" || got.Port != 8443 {
		t.Errorf("every %v, %+v", l.Every, got)
	}
	says(t, Options{Env: []string{"PORT=0443", "EMPTY="}}, target+"    port: ${env:PORT}\n    body: ${env:NO}\n    profile: ${ENV}\n    domain: ${env:}\n    method: ${env:EMPTY}\n",
		`config.yaml:7:11: targets[0].port: "0443" is not a plain decimal number (try 443)`,
		`config.yaml:8:11: targets[0].body: the environment variable NO is not set`,
		`config.yaml:9:14: targets[0].profile: only ${env:NAME} is understood here: write $${ for a plain ${`,
		`config.yaml:10:13: targets[0].domain: only ${env:NAME} is understood here: write $${ for a plain ${`,
		`config.yaml:11:13: targets[0].method: "" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS`)
}

// What comes from the environment cannot become more than one text.
func TestExpansionIsNoInjection(t *testing.T) {
	l := load(t, domain+"    method: POST\n    body: ${env:X}\n", "X=a\nport: 1\n${env:Y}", "Y=z")
	if got, want := l.Targets[0].Body, "a\nport: 1\n${env:Y}"; got != want || l.Targets[0].Port != 443 {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What is served for the container runtime has no password: it stays on
// loopback.
func TestHealthListen(t *testing.T) {
	for _, good := range []string{"off", "127.0.0.1:9644", "[::1]:0"} {
		if got := load(t, "health_listen: '"+good+"'\n"+target).HealthListen; got != good {
			t.Errorf("got %q, want %q", got, good)
		}
	}
	says(t, Options{}, "health_listen: 0.0.0.0:9644\n"+target,
		`config.yaml:1:16: health_listen: "0.0.0.0:9644" is not a loopback address: use 127.0.0.1 or [::1], or off`)
}
