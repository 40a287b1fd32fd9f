package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// gatusPause is how long gatus sleeps at its start before each endpoint.
const gatusPause = 222 * time.Millisecond

// gatus schedules its probes itself: each endpoint has a loop of its own.
func gatus(binary string) *peer {
	p := &peer{name: "gatus", binary: binary, listen: "127.0.0.1:8080", few: 20, busy: load{12, 20 * time.Millisecond}}
	p.args = func(folder string, j job) ([]string, error) {
		return nil, os.WriteFile(filepath.Join(folder, "gatus.yaml"), []byte(gatusConfig(folder, j)), 0o600)
	}
	p.env = func(folder string) []string {
		return []string{
			"GATUS_CONFIG_PATH=" + filepath.Join(folder, "gatus.yaml"), "GATUS_LOG_LEVEL=WARN", // the default writes a line for each probe
			"SSL_CERT_FILE=" + filepath.Join(folder, rootFile), "SSL_CERT_DIR=" + filepath.Join(folder, "none"), // it has no option for it
		}
	}
	p.ramp = func(j job) time.Duration {
		return time.Duration(j.targets*len(j.parts())+j.load.targets) * gatusPause
	}
	p.failed = func(text string, _ job) (failed, of int) {
		for s := range samples(text, "gatus_results_total") {
			of += int(s.value)
			if s.labels["success"] == "false" {
				failed += int(s.value)
			}
		}
		return failed, of
	}
	p.times = gatusTimes
	p.remarks = map[layer]string{tlsLayer: "without a client certificate: its tls:// has none", walkLayer: "its TLS is without a client certificate"}
	return p
}

func gatusConfig(folder string, j job) string {
	var b strings.Builder
	// The default is to probe three endpoints at a time; unlimited cannot be asked for.
	b.WriteString("metrics: true\nconcurrency: 10000\nweb: {address: 127.0.0.1, port: 8080}\nendpoints:\n")
	for _, l := range j.parts() {
		for _, t := range j.tasks(l) {
			fmt.Fprintf(&b, "- {name: %s, group: %s, interval: %s, %s}\n", nameOf(t.target), l, j.every, gatusOptions(folder, l, t))
		}
	}
	for _, t := range j.loadTasks() {
		fmt.Fprintf(&b, "- {name: %s, group: load, interval: %s, %s}\n", nameOf(t.target), j.load.every, gatusOptions(folder, httpsLayer, t))
	}
	return b.String()
}

// gatusOptions are what is said of the kind of probe.
func gatusOptions(folder string, l layer, t task) string {
	switch l {
	case dnsLayer:
		return fmt.Sprintf("url: '%s:%d', dns: {query-name: %s., query-type: A}, conditions: ['[DNS_RCODE] == NOERROR']", t.addr, t.port, hostOf(t.target))
	case tcpLayer:
		return fmt.Sprintf("url: 'tcp://%s:%d', client: {timeout: 2s}, conditions: ['[CONNECTED] == true']", t.addr, t.port)
	case tlsLayer:
		return fmt.Sprintf("url: 'tls://%s:%d', client: {timeout: 2s}, conditions: ['[CONNECTED] == true']", t.addr, plainPort)
	}
	return fmt.Sprintf("url: 'https://%s:%d/health', client: {timeout: 2s, tls: {certificate-file: %[3]s/%[4]s.pem, private-key-file: %[3]s/%[4]s.key}}, conditions: ['[STATUS] == 200']",
		t.addr, t.port, folder, clientFile)
}

// gatusTimes reads the durations, which are those of the latest probes.
func gatusTimes(text string) map[timed]timing {
	times := map[timed]timing{}
	for s := range samples(text, "gatus_results_total", "gatus_results_duration_seconds") {
		of := timed{layer(s.labels["group"]), numberOf(s.labels["name"])}
		t := times[of]
		if s.name == "gatus_results_total" {
			t.count += int(s.value)
		} else {
			t.seconds = s.value
		}
		times[of] = t
	}
	return times
}
