package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"vpcprobe/lab/netns"
)

// A job is the work that a prober is given: the same layer of so many targets,
// each at the same pace.
type job struct {
	layer   layer
	targets int
	every   time.Duration
	places  int // how many at once, for probers that bound it; 0 for the default

	// port, if not 0, is that of the first of targets at one address, farm's;
	// otherwise each target has an address of its own.
	port int
	farm string
	in   *netns.Namespace
	load int // further targets on loopback, of the HTTPS layer, at 100 ms
}

// A peer is a prober.
type peer struct {
	name   string
	binary string
	listen string
	args   func(folder string, j job) ([]string, error)

	// probe, if set, is the URL whose request makes the peer probe: it does
	// nothing by itself.
	probe func(j job, target int) string
}

// start starts the peer with a job, and waits until it listens if it must be
// driven.
func (p *peer) start(folder string, j job) (*process, error) {
	args, err := p.args(folder, j)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(p.binary, args...)
	log, err := os.Create(filepath.Join(folder, p.name+".log"))
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	return start(cmd, proberCPU, j.in)
}

// vpcprobe is the agent itself.
func vpcprobe(binary string) *peer {
	p := &peer{name: "vpcprobe", binary: binary, listen: "127.0.0.1:9643"}
	p.args = func(folder string, j job) ([]string, error) {
		path := filepath.Join(folder, "vpcprobe.yaml")
		return []string{"run", "-c", path}, os.WriteFile(path, []byte(agentConfig(folder, p.listen, j)), 0o600)
	}
	return p
}

// layers says what a layer is for the agent: which kinds of probe to run, on
// which port. Where lookups are not what is measured they are made once an
// hour.
var layers = map[layer]struct {
	kinds, pace string
	port        int
}{
	dnsLayer:   {"resolve", "", tcpPort},
	tcpLayer:   {"resolve, connect", "pace: {resolve: 1h}", tcpPort},
	tlsLayer:   {"resolve, connect, handshake", "pace: {resolve: 1h}", tlsPort},
	httpsLayer: {"resolve, connect, handshake, invoke", "pace: {resolve: 1h}", httpsPort},
	walkLayer:  {"resolve, connect, handshake, invoke", "", httpsPort},
}

func agentConfig(folder, listen string, j job) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listen: %s\nevery: %s\ntimeout: 2s\nlog: {level: warn}\n", listen, j.every)
	if j.places > 0 {
		fmt.Fprintf(&b, "concurrency: %d\n", j.places)
	}
	b.WriteString("targets:\n")
	for i := range j.targets {
		server, port := "127.0.0.1", layers[j.layer].port
		if j.port > 0 {
			server, port = j.farm, j.port+i
		}
		agentTarget(&b, folder, j.layer, i, server, port, "")
	}
	for i := range j.load {
		agentTarget(&b, folder, httpsLayer, j.targets+i, "127.0.0.1", httpsPort, ", every: 100ms")
	}
	return b.String()
}

func agentTarget(b *strings.Builder, folder string, l layer, i int, server string, port int, more string) {
	fmt.Fprintf(b, "- {name: %s, kind: custom-domain, domain: %s, port: %d, resolvers: ['%s:%d'], kinds: [%s]",
		nameOf(i), hostOf(i), port, server, dnsPort, layers[l].kinds)
	if pace := layers[l].pace; pace != "" {
		b.WriteString(", " + pace)
	}
	if l != dnsLayer && l != tcpLayer {
		fmt.Fprintf(b, ", trust: {ca_file: %[1]s/%[2]s}, client_certificate: {certificate: %[1]s/%[3]s.pem, key: %[1]s/%[3]s.key}", folder, rootFile, clientFile)
	}
	if l == httpsLayer || l == walkLayer {
		b.WriteString(", path: /health, sign: true, region: eu-west-1")
	}
	b.WriteString(more + "}\n")
}

// blackbox is blackbox_exporter, which probes when it is scraped.
func blackbox(binary string) *peer {
	p := &peer{name: "blackbox_exporter", binary: binary, listen: "127.0.0.1:9115"}
	p.args = func(folder string, _ job) ([]string, error) {
		path := filepath.Join(folder, "blackbox.yaml")
		certs := fmt.Sprintf("{ca_file: %[1]s/%[2]s, cert_file: %[1]s/%[3]s.pem, key_file: %[1]s/%[3]s.key, server_name: t.%[4]s}", folder, rootFile, clientFile, zone)
		modules := "modules:\n" +
			"  dns: {prober: dns, timeout: 2s, dns: {transport_protocol: udp, preferred_ip_protocol: ip4, query_name: " + hostOf(0) + ", query_type: A}}\n" +
			"  tcp: {prober: tcp, timeout: 2s}\n" +
			"  tls: {prober: tcp, timeout: 2s, tcp: {tls: true, tls_config: " + certs + "}}\n" +
			"  https: {prober: http, timeout: 2s, http: {preferred_ip_protocol: ip4, tls_config: " + certs + "}}\n"
		return []string{"--config.file=" + path, "--web.listen-address=" + p.listen, "--log.level=warn"}, os.WriteFile(path, []byte(modules), 0o600)
	}
	p.probe = func(j job, i int) string {
		addr, port, module := addrOf(i).String(), layers[j.layer].port, j.layer
		if j.port > 0 {
			addr, port = j.farm, j.port+i
		}
		target := fmt.Sprintf("%s:%d", addr, port)
		switch module {
		case dnsLayer:
			target = fmt.Sprintf("127.0.0.1:%d", dnsPort) // from which the farm answers
		case httpsLayer:
			target = fmt.Sprintf("https://%s:%d/health", addr, port)
		}
		return fmt.Sprintf("http://%s/probe?module=%s&target=%s", p.listen, module, url.QueryEscape(target))
	}
	return p
}
