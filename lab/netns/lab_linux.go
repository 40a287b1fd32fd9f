package netns

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// A Topology is a row of hosts: client, routers, server.
type Topology struct {
	Routers int          // between client and server
	Links   map[int]Link // by number, 0 being the client's; those not named are plain

	// Twin gives the second router a twin: another way, of IPv4 only, from the
	// first router to the third one. Equal spreads flows over both ways by their ports
	// (ECMP); else the twin idles until a fault sends traffic its way.
	Twin, Equal bool
}

// A Lab is a network in operation.
type Lab struct {
	Topology
	hosts []*Namespace // client, routers, server
	twin  *Namespace
	wires *Namespace // in which the middles of links that are not plain are
	wire  *wire
	tls   *server
	other []*server // that faults have started
}

// The addresses of the network. Link i joins host i with host i+1: the left
// end is 10.77.i.1 and fd77:i::1, the right end .2 and ::2.
func left(link int, v6 bool) netip.Addr  { return end(link, 1, v6) }
func right(link int, v6 bool) netip.Addr { return end(link, 2, v6) }

func end(link int, host byte, v6 bool) netip.Addr {
	if v6 {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x77, 3: byte(link), 15: host})
	}
	return netip.AddrFrom4([4]byte{10, 77, byte(link), host})
}

// mac is the hardware address of one end of a link.
func mac(link, host int) string { return fmt.Sprintf("02:77:00:00:%02x:%02x", link, host) }

// Client is where probes start.
func (l *Lab) Client() *Namespace { return l.hosts[0] }

// Router is the one at a distance of n hops, from 1.
func (l *Lab) Router(n int) *Namespace { return l.hosts[n] }

// Server is where they are to arrive.
func (l *Lab) Server() *Namespace { return l.hosts[len(l.hosts)-1] }

// Hop is the address that answers at a distance of n hops, from 1.
func (l *Lab) Hop(n int, v6 bool) netip.Addr { return right(n-1, v6) }

// TwinHop is the address with which the second router's twin answers.
func (l *Lab) TwinHop() netip.Addr { return right(twinIn, false) }

// Length is the number of hops to the server.
func (l *Lab) Length() int { return l.Routers + 1 }

// Target is the server's TLS port.
func (l *Lab) Target(v6 bool) netip.AddrPort {
	return netip.AddrPortFrom(l.Hop(l.Length(), v6), 443)
}

// ClosedPort is a port of the server on which nothing listens.
func (l *Lab) ClosedPort(v6 bool) netip.AddrPort {
	return netip.AddrPortFrom(l.Hop(l.Length(), v6), 444)
}

// Nobody is an address on the client's own link that no host has.
func (l *Lab) Nobody(v6 bool) netip.AddrPort { return netip.AddrPortFrom(end(0, 99, v6), 443) }

// Accepted counts the connections that the server has accepted.
func (l *Lab) Accepted() int { return int(l.tls.accepted.Load()) }

// Missing says why labs cannot be built here, nil if they can.
func Missing() error {
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s(8) is not installed", tool)
		}
	}
	probe, err := newNamespace("probe")
	if err != nil {
		return fmt.Errorf("network namespaces are not allowed here: %w", err)
	}
	defer probe.close()
	if err := probe.NFT("table inet probe"); err != nil {
		return fmt.Errorf("nftables do not work here: %w", err)
	}
	return nil
}

// TB is what a lab needs of a test.
type TB interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Start builds a lab for a test and removes it afterwards. Where labs cannot be
// built the test is skipped, with the reason.
func Start(t TB, topology Topology) *Lab {
	t.Helper()
	if err := Missing(); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	l, err := Build(topology)
	if err != nil {
		t.Fatalf("build the lab: %v", err)
	}
	t.Cleanup(l.Close)
	return l
}

// Build builds a lab. The caller closes it.
func Build(topology Topology) (*Lab, error) {
	if os.Getenv(childKey) != "" {
		return nil, errors.New("netns.Enter must be called before anything else") // or each child would start children
	}
	if topology.Equal {
		// Packets that cross a veth pair keep the hash that the sender's kernel
		// gave the connection, a random one, and the router would spread by
		// that. Packets that come by wire have only their addresses and ports.
		topology.Links = maps.Clone(topology.Links)
		if topology.Links == nil {
			topology.Links = map[int]Link{}
		}
		topology.Links[0] = Link{Delay: max(topology.Links[0].Delay, time.Microsecond), Loss: topology.Links[0].Loss}
	}
	l := &Lab{Topology: topology}
	for _, step := range []func() error{l.addHosts, l.addLinks, l.addRoutes, l.addTwin, l.serve} {
		if err := step(); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// Close removes the network.
func (l *Lab) Close() {
	for _, s := range append(l.other, l.tls) {
		s.close()
	}
	if l.wire != nil {
		l.wire.stop()
	}
	for _, n := range append(slices.Clone(l.hosts), l.wires, l.twin) {
		if n != nil {
			n.close()
		}
	}
}

func (l *Lab) addHosts() error {
	for i := range l.Routers + 2 {
		name := fmt.Sprintf("r%d", i)
		switch i {
		case 0:
			name = "client"
		case l.Routers + 1:
			name = "server"
		}
		n, err := newHost(name, i > 0 && i <= l.Routers)
		if err != nil {
			return err
		}
		l.hosts = append(l.hosts, n)
	}
	if len(l.Links) == 0 {
		return nil
	}
	var err error
	if l.wires, err = newNamespace("wires"); err != nil {
		return err
	}
	// The middles of links only carry frames: they have nothing to say.
	for _, scope := range []string{"all", "default"} {
		if err := l.wires.Set("ipv6/conf/"+scope+"/disable_ipv6", "1"); err != nil {
			return err
		}
	}
	return nil
}

// newHost makes a host that routes if it is to, answers every packet that it
// should with ICMP at any rate, and uses its addresses at once.
func newHost(name string, router bool) (*Namespace, error) {
	n, err := newNamespace(name)
	if err != nil {
		return nil, err
	}
	forward := "0"
	if router {
		forward = "1"
	}
	for _, s := range [][2]string{
		{"ipv4/ip_forward", forward}, {"ipv6/conf/all/forwarding", forward},
		{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"},
		{"ipv6/conf/all/accept_dad", "0"}, {"ipv6/conf/default/accept_dad", "0"},
		{"ipv4/icmp_ratelimit", "0"}, {"ipv6/icmp/ratelimit", "0"},
		{"ipv4/icmp_msgs_per_sec", "100000"}, {"ipv4/icmp_msgs_burst", "10000"},
	} {
		if err := n.Set(s[0], s[1]); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

// addLinks joins each host with the next one.
func (l *Lab) addLinks() error {
	var links []Link
	var ends []*os.File
	defer func() {
		for _, f := range ends {
			f.Close()
		}
	}()
	for i := range l.Routers + 1 {
		if err := l.join(i, l.hosts[i], l.hosts[i+1]); err != nil {
			return err
		}
		link := l.Links[i]
		if link.plain() {
			continue
		}
		for _, device := range []string{fmt.Sprintf("a%d", i), fmt.Sprintf("b%d", i)} {
			end, err := l.middle(device)
			if err != nil {
				return err
			}
			ends = append(ends, end)
		}
		links = append(links, link)
	}
	if len(links) == 0 {
		return nil
	}
	var err error
	l.wire, err = startWire(links, ends)
	return err
}

// join makes link i: the device e<i> in a, and w<i> in b. A plain link is one
// veth pair, any other two, with their inner ends among the wires.
func (l *Lab) join(i int, a, b *Namespace) error {
	e, w := fmt.Sprintf("e%d", i), fmt.Sprintf("w%d", i)
	if l.Links[i].plain() {
		if err := veth(a, e, mac(i, 1), b, w, mac(i, 2)); err != nil {
			return err
		}
	} else {
		if err := veth(a, e, mac(i, 1), l.wires, fmt.Sprintf("a%d", i), mac(i, 3)); err != nil {
			return err
		}
		if err := veth(b, w, mac(i, 2), l.wires, fmt.Sprintf("b%d", i), mac(i, 4)); err != nil {
			return err
		}
		for _, side := range []struct {
			*Namespace
			device string
		}{{a, e}, {b, w}} {
			if err := side.Do(func() error { return bare(side.device) }); err != nil {
				return err
			}
		}
	}
	if err := address(a, e, i, 1, 2); err != nil {
		return err
	}
	return address(b, w, i, 2, 1)
}

// veth makes a pair of devices with one end in each namespace.
func veth(a *Namespace, nameA, macA string, b *Namespace, nameB, macB string) error {
	return a.ip([]*os.File{b.file}, fmt.Sprintf("link add %s address %s type veth peer name %s address %s netns /proc/self/fd/3", nameA, macA, nameB, macB))
}

// address gives one end of a link its addresses, and tells it the other end's
// hardware address, so that no first packet waits for ARP or neighbor
// discovery.
func address(n *Namespace, device string, link int, own, peer byte) error {
	return n.IP(
		fmt.Sprintf("addr add %s/24 dev %s", end(link, own, false), device),
		fmt.Sprintf("addr add %s/64 dev %s nodad", end(link, own, true), device),
		fmt.Sprintf("link set %s up", device),
		fmt.Sprintf("neigh replace %s dev %s lladdr %s nud permanent", end(link, peer, false), device, mac(link, int(peer))),
		fmt.Sprintf("neigh replace %s dev %s lladdr %s nud permanent", end(link, peer, true), device, mac(link, int(peer))),
	)
}

// middle brings up the inner end of a link and opens it for the wire.
func (l *Lab) middle(device string) (*os.File, error) {
	if err := l.wires.IP("link set " + device + " up"); err != nil {
		return nil, err
	}
	var f *os.File
	err := l.wires.Do(func() error {
		ifc, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		f, err = packetSocket(ifc.Index)
		return err
	})
	return f, err
}

// addRoutes sends everything to the right by default, and what belongs to the
// left to the left.
func (l *Lab) addRoutes() error {
	for i, n := range l.hosts {
		var lines []string
		if i < len(l.hosts)-1 {
			lines = append(lines, "route add default via "+right(i, false).String(), "route add ::/0 via "+right(i, true).String())
		}
		for j := range i - 1 {
			lines = append(lines, fmt.Sprintf("route add %s/24 via %s", end(j, 0, false), left(i-1, false)),
				fmt.Sprintf("route add %s/64 via %s", end(j, 0, true), left(i-1, true)))
		}
		if err := n.IP(lines...); err != nil {
			return err
		}
	}
	return nil
}

// The numbers of the twin's links.
const (
	twinIn  = 101 // from the first router
	twinOut = 102 // to the third one
)

// addTwin adds the second way from the first to the third router.
func (l *Lab) addTwin() error {
	if !l.Twin {
		return nil
	}
	if l.Routers < 3 {
		return errors.New("a twin needs at least three routers")
	}
	var err error
	if l.twin, err = newHost("twin", true); err != nil {
		return err
	}
	if err := l.join(twinIn, l.hosts[1], l.twin); err != nil {
		return err
	}
	if err := l.join(twinOut, l.twin, l.hosts[3]); err != nil {
		return err
	}
	if err := l.twin.IP("route add default via "+right(twinOut, false).String(), fmt.Sprintf("route add %s/24 via %s", end(0, 0, false), left(twinIn, false))); err != nil {
		return err
	}
	if !l.Equal {
		return nil
	}
	if err := l.hosts[1].Set("ipv4/fib_multipath_hash_policy", "1"); err != nil {
		return err
	}
	return l.hosts[1].IP(fmt.Sprintf("route replace default nexthop via %s nexthop via %s", right(1, false), right(twinIn, false)))
}

func (l *Lab) serve() (err error) {
	l.tls, err = serveTLS(l.Server(), ":443")
	return err
}

// States describes the sockets of a host in words, for messages.
func States(states map[uint8]int) string {
	names := map[uint8]string{1: "established", 2: "syn-sent", 3: "syn-received", 4: "fin-wait-1", 5: "fin-wait-2", 6: "time-wait", 7: "close", 8: "close-wait", 9: "last-ack", 10: "listen", 11: "closing", 12: "new-syn-received"}
	var list []string
	for state, n := range states {
		list = append(list, fmt.Sprintf("%d %s", n, names[state]))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
