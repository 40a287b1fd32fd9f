// Package config reads the configuration file, the environment and the flags
// into typed values, and says everything that is wrong with them at once, with
// file, line and column.
//
// It is strict: an unknown key, a number without a unit or a value of the
// wrong shape is a mistake, never a guess. It does not watch files, and it
// changes nothing that it has returned: a reload is another [Load].
//
// No other package knows viper, and viper sees no more than typed values: it
// puts defaults, file, environment and flags in their order of precedence.
// Its own decoding would turn "every: 15" into 15 nanoseconds and the API id
// 12345678e1 into a number.
package config

import (
	"time"

	"vpcprobe/probes"
)

// Config is the agent's configuration. It is read-only once loaded.
//
// As with [probes.Target], the struct tags are the reference.
type Config struct {
	Listen       string                   `config:"listen" format:"listen" default:"127.0.0.1:9643" doc:"Where to serve metrics, status and the page: address:port. Reachable from this host only unless given."`
	HealthListen string                   `config:"health_listen" format:"health" default:"127.0.0.1:9644" doc:"Where to serve /healthz and /readyz once more, in the clear, for the container runtime (vpcprobe health): a loopback address:port, or off."`
	Every        time.Duration            `config:"every" min:"100ms" default:"30s" doc:"How often to walk each target."`
	WhileFailing time.Duration            `config:"while_failing" min:"100ms" example:"5s" doc:"How often to walk a target while it is not reachable; the same as every unless given."`
	Timeout      time.Duration            `config:"timeout" min:"10ms" default:"5s" doc:"The bound on each step of a walk: one lookup, connection, handshake or request."`
	Pace         map[string]time.Duration `config:"pace" min:"100ms" example:"trace: 5m" doc:"How often to run single kinds of probe, by their names. One that fails and that others stand on, or that says why others fail, runs as often as the target until it works."`
	FollowUp     bool                     `config:"follow_up" default:"true" doc:"Whether to send follow-up requests when an answer has several possible causes."`
	IPFamily     string                   `config:"ip_family" enum:"both,ipv4,ipv6" default:"both" doc:"Which addresses callers use, and so which records to ask for: A (ipv4), AAAA (ipv6) or both. One halves the questions: a network interface may send a VPC's resolver 1,024 packets a second (Amazon VPC User Guide, Amazon DNS quotas). Entries of the hosts file count likewise. What was not asked for is not judged. Where resolv.conf says no-aaaa, both asks that resolver for A only; ipv6 asks for AAAA all the same."`
	Concurrency  int                      `config:"concurrency" min:"1" max:"100000" default:"256" doc:"How many targets to walk at once: what bounds memory and file descriptors when many of them are silent."`

	Metrics Metrics `config:"metrics" doc:"How metrics are exported."`
	Log     Log     `config:"log" doc:"What is logged, on standard error."`
	Reload  Reload  `config:"reload" doc:"How changes of this file are noticed. SIGHUP always works."`

	WebConfigFile string `config:"web_config_file" format:"file" doc:"TLS and basic authentication for listen, in the web configuration format of the Prometheus exporter-toolkit."`

	Targets []*probes.Target `config:"targets" required:"true" doc:"The APIs to walk."`
}

// Metrics says how metrics are exported.
type Metrics struct {
	NativeHistograms bool `config:"native_histograms" default:"false" doc:"Export native histograms beside classic ones; they cost about 7 KB each."`
	EMF              bool `config:"emf" default:"false" doc:"Write metrics to standard output in the CloudWatch embedded metric format."`
	OTLP             OTLP `config:"otlp" doc:"Push metrics to an OpenTelemetry collector, by HTTP. Headers and TLS are configured by the standard OTEL_EXPORTER_OTLP_ variables."`
}

// OTLP says where metrics are pushed.
type OTLP struct {
	Endpoint string        `config:"endpoint" format:"collector" example:"http://127.0.0.1:4318" doc:"The collector's URL; nothing is pushed unless given."`
	Every    time.Duration `config:"every" min:"1s" default:"1m" doc:"How often to push."`
}

// Log says what is logged.
type Log struct {
	Level  string `config:"level" enum:"debug,info,warn,error" default:"info" doc:"The least severe messages to log."`
	Format string `config:"format" enum:"text,json" default:"text" doc:"The form of a log line."`
}

// Reload says how changes of the configuration file are noticed.
type Reload struct {
	Every time.Duration `config:"every" min:"100ms" default:"10s" doc:"How often to look whether the file has changed."`
	HTTP  bool          `config:"http" default:"false" doc:"Whether POST /-/reload on listen reloads the file."`
}

// Options say what to load.
type Options struct {
	Path     string            // the configuration file, or env:NAME for its text in the environment
	Env      []string          // the environment, as from os.Environ
	Flags    map[string]string // values given on the command line, by key: "log.level"
	Kinds    []string          // the kinds of probe that pace and kinds may name; nil means any
	Findings []string          // the findings that expect and recognize may name; nil means any

	// Missing returns the kinds that those of a target stand on and that are not
	// among them; nil means that none ever are.
	Missing func(*probes.Target) []string
}

// Loaded is a configuration without mistakes, and where it came from.
type Loaded struct {
	Config
	Warnings Problems // what will not work as meant, though it can be read

	// Origins says where values came from, by key: targets[0].api. A value
	// that is not in it is a default, as the zero Origin says. It takes more
	// memory than the configuration itself: whoever runs for long lets it go.
	Origins map[string]Origin
}
