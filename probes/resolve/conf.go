package resolve

import (
	"bufio"
	"cmp"
	"io"
	"iter"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"vpcprobe/probes"
)

// The limits of resolv.conf(5).
const (
	maxServers  = 3
	maxNdots    = 15
	maxWait     = 30 * time.Second
	maxAttempts = 5
	maxSearch   = 32 // glibc has none since 2.26
)

// The bounds of what is read of a file, in bytes. Hosts files that block
// advertisers are long.
const (
	maxFile = 16 << 20
	maxLine = 1 << 20
)

// A conf is how a resolver is asked: a resolv.conf, or one server.
type conf struct {
	servers  []netip.AddrPort
	search   []string
	ndots    int
	timeout  time.Duration // for one server; 0 is the time there is
	attempts int
	tcp      bool // use-vc
	noAAAA   bool // no-aaaa
}

// direct is the conf of one server asked without resolv.conf.
func direct(server netip.AddrPort) conf { return conf{servers: []netip.AddrPort{server}, attempts: 2} }

// parseConf reads a resolv.conf as glibc does (resolv.conf(5)): lines that it
// does not understand it passes over, and without a server it asks this host.
func parseConf(r io.Reader) conf {
	c := conf{ndots: 1, timeout: 5 * time.Second, attempts: 2}
	for line := range lines(r) {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if fields := strings.Fields(line); len(fields) > 1 {
			c.read(fields[0], fields[1:])
		}
	}
	if len(c.servers) == 0 {
		c.servers = []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 53)}
	}
	return c
}

// read takes one line.
func (c *conf) read(keyword string, values []string) {
	switch keyword {
	case "nameserver":
		addr, err := netip.ParseAddr(values[0])
		if err == nil && len(c.servers) < maxServers {
			c.servers = append(c.servers, netip.AddrPortFrom(addr.Unmap(), 53))
		}
	case "domain":
		c.search = domains(values[:1])
	case "search":
		c.search = domains(values)
	case "options":
		for _, o := range values {
			c.option(o)
		}
	}
}

// option takes one option; those about protocol details (edns0, trust-ad,
// rotate, single-request and so on) change nothing of what we ask.
func (c *conf) option(o string) {
	key, value, _ := strings.Cut(o, ":")
	n, err := strconv.Atoi(value)
	known := err == nil && n >= 0
	switch {
	case key == "ndots" && known:
		c.ndots = min(n, maxNdots)
	case key == "timeout" && known:
		c.timeout = min(time.Duration(max(n, 1))*time.Second, maxWait)
	case key == "attempts" && known:
		c.attempts = min(max(n, 1), maxAttempts)
	case o == "use-vc" || o == "usevc":
		c.tcp = true
	case o == "no-aaaa":
		c.noAAAA = true
	}
}

// domains returns the names as suffixes; the root is none.
func domains(names []string) []string {
	var all []string
	for _, n := range names {
		n = strings.ToLower(strings.Trim(n, "."))
		if n == "" || slices.Contains(all, n) || len(all) == maxSearch {
			continue
		}
		all = append(all, n)
	}
	return all
}

// names returns the full names that glibc asks for in place of a given one, in
// order, each with its final dot. Of the search list most programs know
// nothing, but a wildcard in one of its domains catches every name with fewer
// dots than ndots: Kubernetes sets five, and API names have four.
func (c conf) names(given string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if strings.HasSuffix(given, ".") {
			yield(given)
			return
		}
		asis := given + "."
		first := strings.Count(given, ".") >= c.ndots
		if first && !yield(asis) {
			return
		}
		for _, domain := range c.search {
			if full := given + "." + domain + "."; len(full) <= 254 && !yield(full) {
				return
			}
		}
		if !first {
			yield(asis)
		}
	}
}

// local is what the files of this machine say.
type local struct {
	conf  conf
	hosts hosts
	err   error // why they are not known
}

// readLocal reads the files, if any resolver needs them: each run anew, since
// they change under us. A file that is missing or may not be read is an empty
// one, as it is for libc; that there is no descriptor to read it with is a
// fault of ours.
func readLocal(sys probes.System, resolvers []string, forms []probes.Form) local {
	if !slices.Contains(resolvers, System) {
		return local{}
	}
	var names []string
	for _, f := range forms {
		names = append(names, f.Name)
	}
	var l local
	l.err = cmp.Or(
		withFile(sys.ResolvConf, func(r io.Reader) { l.conf = parseConf(r) }),
		withFile(sys.Hosts, func(r io.Reader) { l.hosts = hosts{sys.Hosts, parseHosts(r, names...)} }),
	)
	return l
}

func withFile(path string, read func(io.Reader)) error {
	f, err := os.Open(path)
	switch {
	case probes.Exhausted(err):
		return err
	case err != nil:
		read(strings.NewReader(""))
		return nil
	}
	defer f.Close()
	read(f)
	return nil
}

// lines yields the lines of a file, as far as its bounds go.
func lines(r io.Reader) iter.Seq[string] {
	return func(yield func(string) bool) {
		s := bufio.NewScanner(io.LimitReader(r, maxFile))
		s.Buffer(nil, maxLine)
		for s.Scan() && yield(s.Text()) {
		}
	}
}
