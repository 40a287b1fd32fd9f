package resolve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"vpcprobe/probes"
)

var ports = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

func servers(texts ...string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, s := range texts {
		all = append(all, netip.MustParseAddrPort(s))
	}
	return all
}

func TestParseConf(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       conf
	}{
		{"empty", "", conf{servers: servers("127.0.0.1:53"), ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"VPC", "; generated\nsearch eu-west-1.compute.internal\nnameserver 10.0.0.2\n",
			conf{servers: servers("10.0.0.2:53"), search: []string{"eu-west-1.compute.internal"}, ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"Kubernetes", "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 172.20.0.10\noptions ndots:5\n",
			conf{servers: servers("172.20.0.10:53"), search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}, ndots: 5, timeout: 5 * time.Second, attempts: 2}},
		{"three servers at most", "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4",
			conf{servers: servers("10.0.0.1:53", "10.0.0.2:53", "10.0.0.3:53"), ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"IPv6, with a zone, mapped", "nameserver fd00:ec2::253\nnameserver fe80::1%eth0\nnameserver ::ffff:10.0.0.2",
			conf{servers: servers("[fd00:ec2::253]:53", "[fe80::1%eth0]:53", "10.0.0.2:53"), ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"what is not an address", "nameserver resolver.example.com\nnameserver 10.0.0.2:53\nnameserver 10.0.0.300\nnameserver\nnameserver 010.0.0.2\nnameserver 10.0.0.7",
			conf{servers: servers("10.0.0.7:53"), ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"comments", "#nameserver 10.0.0.1\n;nameserver 10.0.0.2\nnameserver 10.0.0.3 # the good one\n",
			conf{servers: servers("10.0.0.3:53"), ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"the last of domain and search", "search a.example b.example\ndomain C.example.\nnameserver 10.0.0.2",
			conf{servers: servers("10.0.0.2:53"), search: []string{"c.example"}, ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"options", "nameserver 10.0.0.2\noptions timeout:1 attempts:3 rotate edns0 use-vc no-aaaa ndots:0",
			conf{servers: servers("10.0.0.2:53"), ndots: 0, timeout: time.Second, attempts: 3, tcp: true, noAAAA: true}},
		{"options out of bounds", "nameserver 10.0.0.2\noptions timeout:99 attempts:99 ndots:99",
			conf{servers: servers("10.0.0.2:53"), ndots: 15, timeout: 30 * time.Second, attempts: 5}},
		{"options below bounds", "nameserver 10.0.0.2\noptions timeout:0 attempts:0 ndots:-1 timeout:x ndots:",
			conf{servers: servers("10.0.0.2:53"), ndots: 1, timeout: time.Second, attempts: 1}},
		{"carriage returns and tabs", "nameserver\t10.0.0.2\r\nsearch\ta.example\r\n",
			conf{servers: servers("10.0.0.2:53"), search: []string{"a.example"}, ndots: 1, timeout: 5 * time.Second, attempts: 2}},
		{"the root as search domain", "search .\nnameserver 10.0.0.2", conf{servers: servers("10.0.0.2:53"), ndots: 1, timeout: 5 * time.Second, attempts: 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := parseConf(strings.NewReader(tt.text))
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(conf{}), ports); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNamesOfTheSearchList(t *testing.T) {
	for _, tt := range []struct {
		given  string
		search []string
		ndots  int
		want   []string
	}{
		{"a.b.c", nil, 1, []string{"a.b.c."}},
		{"a.b.c", []string{"x", "y"}, 1, []string{"a.b.c.", "a.b.c.x.", "a.b.c.y."}},
		{"a.b.c", []string{"x", "y"}, 2, []string{"a.b.c.", "a.b.c.x.", "a.b.c.y."}},
		{"a.b.c", []string{"x", "y"}, 3, []string{"a.b.c.x.", "a.b.c.y.", "a.b.c."}},
		{"a.b.c.", []string{"x", "y"}, 5, []string{"a.b.c."}},
		{"a", []string{strings.Repeat("x.", 126) + "y", "z"}, 5, []string{"a.z.", "a."}}, // longer than names may be
	} {
		if got := slices.Collect((conf{search: tt.search, ndots: tt.ndots}).names(tt.given)); !slices.Equal(got, tt.want) {
			t.Errorf("%s with ndots %d: %v, want %v", tt.given, tt.ndots, got, tt.want)
		}
	}
}

func TestParseHosts(t *testing.T) {
	text := "# comment\n" +
		"127.0.0.1 localhost\n" +
		"10.0.1.17\t" + strings.ToUpper(api) + " other # " + alias + "\n" +
		"10.0.1.17 " + api + "\n" + // twice the same
		"10.0.2.23 x " + api + ".\r\n" +
		"fd00::17 " + api + "\n" +
		"fe80::1%eth0 " + alias + "\n" +
		"10.0.0.300 " + endpoint + "\n" +
		"nonsense " + endpoint + "\n" +
		"10.0.3.3\n"
	got := parseHosts(strings.NewReader(text), api, alias, endpoint, "other")
	want := map[string][]netip.Addr{
		api:      addrs("10.0.1.17", "10.0.2.23", "fd00::17"),
		alias:    addrs("fe80::1%eth0"),
		endpoint: nil,
		"other":  addrs("10.0.1.17"),
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A wildcard in a search domain catches API names where ndots is five, as
// Kubernetes has it. The observation says which name was really asked for.
func TestSearchListCatchesTheName(t *testing.T) {
	t.Parallel()
	w := world{
		target:    orders(),
		conf:      "nameserver 10.0.0.2\nsearch svc.cluster.local corp.example.com\noptions ndots:5",
		resolvers: one(healthy().with(api+".corp.example.com", "10.66.6.6")),
	}
	onlyAddresses(&w.target)
	system(&w.target)
	seen := w.walk(t)
	o := seen.Of(name)[0]
	if d := Of(o); o.Outcome != probes.Elsewhere || d.course().Asked != api+".corp.example.com" || !slices.Equal(d.Addrs(), addrs("10.66.6.6")) {
		t.Errorf("%s: %v, want elsewhere, asked with the search domain", o.Outcome, d)
	}
	if diff := cmp.Diff([]string{"wrong-addresses likely"}, findings(seen)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// What counts of a name that no search domain completes is what was said of
// the name itself.
func TestSearchListThatDoesNotHelp(t *testing.T) {
	for _, ndots := range []int{1, 5} {
		t.Run(fmt.Sprint("ndots ", ndots), func(t *testing.T) {
			t.Parallel()
			for what, tt := range map[string]struct {
				zone zone
				want probes.Outcome
			}{
				"found":      {healthy(), probes.OK},
				"absent":     {healthy().with(api), probes.NoSuchName},
				"no address": {healthy().with(api, "NOERROR"), probes.NoAddress},
				"a search domain fails": {healthy().with(api).with(api+".corp.example.com", "SERVFAIL"),
					probes.NoSuchName},
			} {
				w := world{
					target:    orders(),
					conf:      fmt.Sprintf("nameserver 10.0.0.2\nsearch corp.example.com\noptions ndots:%d", ndots),
					resolvers: one(tt.zone),
				}
				onlyAddresses(&w.target)
				system(&w.target)
				o := w.walk(t).Of(name)[0]
				if o.Outcome != tt.want || Of(o).course().Asked != "" {
					t.Errorf("%s: %s: %v (%v), want %s", what, o.Outcome, Of(o), o.Err, tt.want)
				}
			}
		})
	}
}

func TestSystemFailsOver(t *testing.T) {
	t.Parallel()
	w := world{
		target:    orders(),
		conf:      "nameserver 10.7.0.2\nnameserver 10.9.0.2\nnameserver 10.0.0.2",
		resolvers: two(healthy(), says(dns.RcodeServerFailure)),
	}
	onlyAddresses(&w.target)
	system(&w.target)
	o := w.walk(t).Of(name)[0]
	if o.Outcome != probes.OK || o.Addr.String() != first || o.Resolver != System {
		t.Errorf("%s from %v: %v", o.Outcome, o.Addr, o.Err)
	}
	want := []Failure{{What: "10.7.0.2:53", Outcome: probes.Unreachable}, {What: second, Outcome: probes.ServerFailed}}
	if !slices.Equal(Of(o).course().Tried, want) {
		t.Errorf("tried %v, want %v", Of(o).course().Tried, want)
	}
}

// A server that failed is not asked again for each name of the search list.
func TestSystemStaysWithTheServerThatAnswers(t *testing.T) {
	t.Parallel()
	w := world{
		target:    orders(),
		conf:      "nameserver 10.9.0.2\nnameserver 10.0.0.2\nsearch a.example b.example c.example\noptions ndots:5",
		resolvers: two(healthy(), says(dns.RcodeServerFailure)),
	}
	onlyAddresses(&w.target)
	system(&w.target)
	o := w.walk(t).Of(name)[0]
	if want := []Failure{{What: second, Outcome: probes.ServerFailed}}; o.Outcome != probes.OK || !slices.Equal(Of(o).course().Tried, want) {
		t.Errorf("%s after %v, want ok after %v", o.Outcome, Of(o).course().Tried, want)
	}
}

func TestSystemOptions(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 100)
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked <- w.RemoteAddr().Network() + " " + dns.TypeToString[q.Question[0].Qtype]
		healthy().ServeDNS(w, q)
	})
	w := world{target: orders(), conf: "nameserver 10.0.0.2\noptions use-vc no-aaaa", resolvers: one(h)}
	onlyAddresses(&w.target)
	system(&w.target)
	o := w.walk(t).Of(name)[0]
	var got []string
	for len(asked) > 0 {
		got = append(got, <-asked)
	}
	if o.Outcome != probes.OK || Of(o).Transport != OverTCP || !slices.Equal(got, []string{"tcp A"}) {
		t.Errorf("%s over %s, asked %v, want one question for A over tcp: %v", o.Outcome, Of(o).Transport, got, o.Err)
	}
}

// Without resolv.conf libc asks this host, so that is what we do.
func TestNoFiles(t *testing.T) {
	t.Parallel()
	target := orders()
	onlyAddresses(&target)
	system(&target)
	net := network(t, map[string]dns.Handler{"127.0.0.1:53": healthy()})
	probe, err := Kind.New(probes.System{Network: net, ResolvConf: "no/such/file", Hosts: "no/such/file"})(&target)
	if err != nil {
		t.Fatal(err)
	}
	if o := probe.Probe(t.Context(), probes.Evidence{Target: &target}, nil)[0]; o.Outcome != probes.OK {
		t.Errorf("%s (%v), want ok", o.Outcome, o.Err)
	}
}

// The files change under a running agent.
func TestFilesAreReadAnew(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sys := probes.System{Network: network(t, one(healthy())), ResolvConf: dir + "/resolv.conf", Hosts: dir + "/hosts"}
	write(t, sys.ResolvConf, "nameserver 10.0.0.2")
	target := orders()
	onlyAddresses(&target)
	system(&target)
	probe, err := Kind.New(sys)(&target)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []probes.Outcome{probes.OK, probes.Elsewhere} {
		if o := probe.Probe(context.Background(), probes.Evidence{Target: &target}, nil)[0]; o.Outcome != want {
			t.Errorf("run %d: %s (%v), want %s", i, o.Outcome, o.Err, want)
		}
		write(t, sys.Hosts, "10.0.9.9 "+api)
	}
}

func TestResolverIsCheckedWhenConfigured(t *testing.T) {
	for _, resolver := range []string{"10.0.0.2", "resolver.example.com:53", "System", ""} {
		target := orders()
		target.Resolvers = []string{resolver}
		if _, err := Kind.New(probes.System{})(&target); err == nil {
			t.Errorf("resolver %q is accepted", resolver)
		}
	}
}

func FuzzConf(f *testing.F) {
	f.Add("nameserver 10.0.0.2\nsearch a.example\noptions ndots:5 timeout:1 attempts:3 use-vc no-aaaa", "a.b")
	f.Add("nameserver fe80::1%eth0\n;x\n#y\ndomain .\noptions ndots:99", "a.b.")
	f.Add("nameserver\nsearch\noptions :\x00", "")
	f.Fuzz(func(t *testing.T, text, given string) {
		c := parseConf(strings.NewReader(text))
		if n := len(c.servers); n < 1 || n > maxServers {
			t.Errorf("%d servers", n)
		}
		for _, s := range c.servers {
			if !s.IsValid() || s.Port() != 53 {
				t.Errorf("server %v", s)
			}
		}
		if c.ndots < 0 || c.ndots > maxNdots || c.timeout < time.Second || c.timeout > maxWait || c.attempts < 1 || c.attempts > maxAttempts {
			t.Errorf("out of bounds: %+v", c)
		}
		names := slices.Collect(c.names(given))
		asis := strings.TrimSuffix(given, ".") + "."
		if given != "." && !strings.HasSuffix(given, "..") && !slices.Contains(names, asis) {
			t.Errorf("names %q lack the one given, %q", names, given)
		}
	})
}

// A relief gives the process its file descriptors back as soon as somebody dials.
type relief struct {
	probes.Network
	mu     sync.Mutex
	limit  syscall.Rlimit
	dialed []string
}

func (r *relief) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r.limit)
	r.dialed = append(r.dialed, address)
	return r.Network.DialContext(ctx, network, address)
}

// Files that cannot be opened for want of descriptors are not empty ones:
// without resolv.conf another server would be asked, without the hosts file
// another answer believed. libc fails then, too.
func TestFilesWithoutDescriptors(t *testing.T) {
	dir, target := t.TempDir(), orders()
	target.Resolvers = []string{System}
	network := &relief{Network: network(t, one(healthy()))}
	sys := probes.System{Network: network, ResolvConf: filepath.Join(dir, "resolv.conf"), Hosts: filepath.Join(dir, "hosts")}
	write(t, sys.ResolvConf, "nameserver 10.0.0.2\n")
	write(t, sys.Hosts, "")
	probe, err := Kind.New(sys)(&target)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &network.limit); err != nil {
		t.Fatal(err)
	}
	seen := probes.Evidence{Target: &target}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: network.limit.Max}); err != nil {
		t.Fatal(err)
	}
	seen = seen.With(name, probe.Probe(t.Context(), seen, nil))
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &network.limit); err != nil {
		t.Fatal(err)
	}
	for _, o := range seen.Of(name) {
		if o.Outcome != probes.Fault || !errors.Is(o.Err, syscall.EMFILE) {
			t.Errorf("%s by %s: %s (%v)", o.Name, o.Resolver, o.Outcome, o.Err)
		}
	}
	if found := findings(seen); len(found) > 0 || len(network.dialed) > 0 || len(seen.Of(name)) != 3 {
		t.Errorf("asked %v and found %v", network.dialed, found)
	}
	seen = seen.With(name, probe.Probe(t.Context(), seen, nil))
	if n := len(seen.Ended(name, probes.OK)); n != 3 {
		t.Errorf("%d of 3 names resolve when there are descriptors again", n)
	}
}

func FuzzHosts(f *testing.F) {
	f.Add("10.0.1.17 a b # c\nfd00::17 A.\n::ffff:10.0.0.1 a", "a")
	f.Add("10.0.0.300 a\n#\n \t\r\n", "b")
	f.Fuzz(func(t *testing.T, text, wanted string) {
		all := parseHosts(strings.NewReader(text), wanted)
		if len(all) != 1 {
			t.Fatalf("%d names, want the one wanted", len(all))
		}
		addrs := hosts{"", all}.of(wanted).addrs
		for i, a := range addrs {
			if !a.IsValid() || a.Is4In6() || slices.Contains(addrs[:i], a) {
				t.Errorf("addresses %v", addrs)
			}
		}
	})
}

func FuzzReply(f *testing.F) {
	asked := new(dns.Msg).SetQuestion(api+".", dns.TypeA)
	asked.Id = 1
	for _, z := range []zone{healthy(), {}, {api: {endpoint}, endpoint: {api}}, big(), {api: {"SERVFAIL"}}} {
		f.Add(pack(z.answer(asked)))
	}
	for _, h := range hostile {
		f.Add(h.make(asked, pack(asked)))
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		q := questionAs(asked)
		samePlainly(t, q, packet)
		r := new(reply)
		ours, err := r.read(q, packet)
		if !ours && (err != nil || r.answers != nil || r.chain != nil) {
			t.Errorf("not the reply, yet it left %v %v %v", r.answers, r.chain, err)
		}
		if len(r.answers) > maxAnswers || len(r.chain) > maxChain {
			t.Errorf("%d answers, %d aliases", len(r.answers), len(r.chain))
		}
		for _, a := range r.answers {
			if !a.Addr.Is4() {
				t.Errorf("%v answers a question for A", a.Addr)
			}
		}
		for _, alias := range r.chain {
			if alias != probes.Scrub(alias, maxName) {
				t.Errorf("alias %q is not scrubbed", alias)
			}
		}
	})
}
