package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cloudprober schedules its probes itself, all targets of one kind as one probe
// of many targets, and publishes sums.
func cloudprober(binary string) *peer {
	p := &peer{name: "cloudprober", binary: binary, listen: "127.0.0.1:9313", sums: true, busy: load{80, 100 * time.Millisecond}}
	p.args = func(folder string, j job) ([]string, error) {
		path := filepath.Join(folder, "cloudprober.cfg")
		args := []string{"--config_file=" + path, "--cloud_metadata=none", "--disable_cloud_logging", "--min_log_level=ERROR"}
		return args, os.WriteFile(path, []byte(cloudproberConfig(folder, j)), 0o600)
	}
	p.ramp = func(j job) time.Duration {
		if j.layer == dnsLayer {
			return j.every / 10
		}
		return time.Duration(j.targets) * gap(j.targets, j.every)
	}
	p.failed = func(text string, _ job) (failed, of int) {
		for s := range samples(text, "total", "success") {
			switch {
			case s.labels["probe"] == "sysvars":
			case s.name == "total":
				of, failed = of+int(s.value), failed+int(s.value)
			default:
				failed -= int(s.value)
			}
		}
		return failed, of
	}
	p.times = cloudproberTimes
	return p
}

// gap is what lies between the first probes of two targets: cloudprober's
// default of 10 ms, or less if it would take more than four rounds or 10 s to
// start them all. It can be no less than 1 ms.
func gap(targets int, every time.Duration) time.Duration {
	const usual, least = 10 * time.Millisecond, time.Millisecond
	fits := min(4*every, 10*time.Second) / time.Duration(targets)
	return max(least, min(usual, fits.Truncate(least)))
}

// cloudproberTypes are the names of the layers' kinds of probe. A TLS handshake
// is an option of a TCP connection.
var cloudproberTypes = map[layer]string{dnsLayer: "dns", tcpLayer: "tcp", tlsLayer: "tcp", httpsLayer: "http"}

// A group is tasks that cloudprober carries out as one probe.
type group struct {
	name  string
	layer layer
	every time.Duration
	gap   time.Duration
	tasks []task
}

func cloudproberConfig(folder string, j job) string {
	var b strings.Builder
	// The default is to stop 5 s after the signal.
	b.WriteString("host: \"127.0.0.1\"\nport: 9313\nstop_time_sec: 0\ndisable_jitter: true\nsurfacer { type: PROMETHEUS }\n")
	for _, g := range cloudproberGroups(j) {
		timeout := min(g.every, 2*time.Second) // it can be no longer
		fmt.Fprintf(&b, "probe {\nname: %q type: %s interval: %q timeout: %q\n", g.name, strings.ToUpper(cloudproberTypes[g.layer]), g.every, timeout)
		if j.fresh { // the default is every 10 s
			fmt.Fprintf(&b, "stats_export_interval_msec: %d\n", g.every.Milliseconds())
		}
		b.WriteString(g.options(folder) + "\ntargets {\n")
		for _, t := range g.tasks { // a line each: one may have no more than 64 KiB
			fmt.Fprintf(&b, "endpoint { name: %q ip: %q port: %d }\n", nameOf(t.target), t.addr, t.port)
		}
		b.WriteString("}\n}\n")
	}
	return b.String()
}

func cloudproberGroups(j job) (all []group) {
	for _, l := range j.parts() {
		tasks := j.tasks(l)
		if l != dnsLayer || j.layer != walkLayer {
			all = append(all, group{string(l), l, j.every, gap(len(tasks), j.every), tasks})
			continue
		}
		for _, t := range tasks { // a probe asks for one name only, and here each target's is wanted
			all = append(all, group{"dns-" + nameOf(t.target), l, j.every, 0, []task{t}})
		}
	}
	if more := j.loadTasks(); len(more) > 0 {
		all = append(all, group{"load", httpsLayer, j.load.every, time.Millisecond, more})
	}
	return all
}

// options are what is said of the kind of probe.
func (g group) options(folder string) string {
	tls := fmt.Sprintf("tls_config { ca_cert_file: %q tls_cert_file: %q tls_key_file: %q server_name: %q }", filepath.Join(folder, rootFile),
		filepath.Join(folder, clientFile+".pem"), filepath.Join(folder, clientFile+".key"), "t."+zone)
	spread := fmt.Sprintf("interval_between_targets_msec: %d", g.gap.Milliseconds())
	switch g.layer {
	case dnsLayer:
		return fmt.Sprintf("dns_probe { resolved_domain: \"%s.\" query_type: A min_answers: 1 }", hostOf(g.tasks[0].target))
	case tcpLayer:
		return fmt.Sprintf("tcp_probe { %s }", spread)
	case tlsLayer:
		return fmt.Sprintf("tcp_probe { %s tls_handshake: true %s }", spread, tls)
	}
	return fmt.Sprintf("http_probe { %s scheme: HTTPS relative_url: \"/health\" latency_breakdown: ALL_STAGES %s }", spread, tls)
}

// cloudproberTimes reads the latencies, which are in microseconds.
func cloudproberTimes(text string) map[timed]timing {
	times := map[timed]timing{}
	for s := range samples(text, "total", "latency") {
		name, _, _ := strings.Cut(s.labels["dst"], ":")
		of := timed{layer(s.labels["ptype"]), numberOf(name)}
		t := times[of]
		if s.name == "total" {
			t.count = int(s.value)
		} else {
			t.seconds = s.value / 1e6
		}
		times[of] = t
	}
	return times
}
