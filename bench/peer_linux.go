package main

import (
	"cmp"
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
	load load

	both  bool // the agent asks for A and AAAA, as it does by default; peers ask for A
	fresh bool // results must be seen at once: peers that publish at intervals do so after every probe
}

// A load is further targets on loopback, of the HTTPS layer.
type load struct {
	targets int
	every   time.Duration
}

func (j job) rate() float64 { return float64(j.targets) / j.every.Seconds() }

// where is what a target's probe is sent to.
func (j job) where(l layer, target int) (addr string, port int) {
	server := cmp.Or(j.farm, "127.0.0.1")
	switch {
	case l == dnsLayer:
		return server, dnsPort
	case j.port > 0 && target < j.targets:
		return server, j.port + target
	}
	return addrOf(target).String(), layers[l].port
}

// A peer is a prober.
type peer struct {
	name    string
	binary  string
	version string
	listen  string // none: it has no metrics, and ends when a probe fails
	args    func(folder string, j job) ([]string, error)
	env     func(folder string) []string // more of its environment; nil for none

	// probe, if set, is the URL whose request makes the peer probe: it does
	// nothing by itself. What it reports is then the answer, not its metrics.
	probe func(j job, target int) string

	// ramp is how long after its start a peer has probed all targets.
	ramp func(j job) time.Duration

	// failed says, by a page of metrics, how many probes went wrong and of how
	// many; or how many targets do.
	failed func(text string, j job) (failed, of int)

	// times, if set, are the times that a page of metrics reports; sums says that
	// they are those of all probes so far, otherwise they are the latest.
	times func(text string) map[timed]timing
	sums  bool

	busy    load             // what keeps a CPU busy at about 70 %
	few     int              // if not 0: so many targets at most where only their rate matters, each probed the more often
	remarks map[layer]string // what is to be known of its figures
}

// spread is a job of the same rate, by as few targets as the peer needs.
func (p *peer) spread(j job) job {
	if p.few > 0 && p.few < j.targets {
		j.every = j.every * time.Duration(p.few) / time.Duration(j.targets)
		j.targets = p.few
	}
	return j
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
	if p.env != nil {
		cmd.Env = append(cmd.Env, p.env(folder)...)
	}
	return start(cmd, proberCPU, j.in)
}

// vpcprobe is the agent itself.
func vpcprobe(binary string) *peer {
	p := &peer{name: "vpcprobe", binary: binary, listen: "127.0.0.1:9643", busy: load{130, 100 * time.Millisecond}}
	p.args = func(folder string, j job) ([]string, error) {
		path := filepath.Join(folder, "vpcprobe.yaml")
		return []string{"run", "-c", path}, os.WriteFile(path, []byte(agentConfig(folder, p.listen, j)), 0o600)
	}
	p.ramp = func(j job) time.Duration { // the opening
		return min(j.every, 5*time.Second) + time.Duration(j.targets)*time.Second/4000
	}
	p.failed = func(text string, j job) (failed, of int) {
		kinds := strings.Split(layers[j.layer].kinds, ", ")
		for s := range samples(text, "vpcprobe_success") {
			if s.labels["kind"] == kinds[len(kinds)-1] && s.value == 1 {
				of++
			}
		}
		return j.targets - of, j.targets
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
	if !j.both {
		b.WriteString("ip_family: ipv4\n")
	}
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
	for i := range j.load.targets {
		agentTarget(&b, folder, httpsLayer, j.targets+i, "127.0.0.1", httpsPort, ", every: "+j.load.every.String())
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
	p := &peer{name: "blackbox_exporter", binary: binary, listen: "127.0.0.1:9115", busy: load{100, 300 * time.Millisecond}}
	p.ramp = func(job) time.Duration { return 0 }
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
		addr, port := j.where(j.layer, i)
		target := fmt.Sprintf("%s:%d", addr, port)
		if j.layer == httpsLayer {
			target = fmt.Sprintf("https://%s:%d/health", addr, port)
		}
		return fmt.Sprintf("http://%s/probe?module=%s&target=%s", p.listen, j.layer, url.QueryEscape(target))
	}
	return p
}

// A task is one layer of one target, for peers that probe each by itself.
type task struct {
	target int
	addr   string
	port   int
}

// parts are the layers of a job as tasks of their own: of a walk, those whose
// times can be compared with ours.
func (j job) parts() []layer {
	if j.layer == walkLayer {
		return []layer{dnsLayer, tcpLayer}
	}
	return []layer{j.layer}
}

func (j job) tasks(l layer) (all []task) {
	for i := range j.targets {
		addr, port := j.where(l, i)
		all = append(all, task{i, addr, port})
	}
	return all
}

func (j job) loadTasks() (all []task) {
	for i := range j.load.targets {
		addr, port := j.where(httpsLayer, j.targets+i)
		all = append(all, task{j.targets + i, addr, port})
	}
	return all
}
