// Package lab is a small VPC made of real servers on loopback, and named ways
// to break it: for tests, for `vpcprobe lab`, and for the transcripts in the
// documents.
//
// There are two resolvers, an execute-api endpoint with a network interface in
// each of three subnets, a TLS gateway on each of them whose certificate
// depends on SNI, a Regional custom domain with mutual TLS, a model of API
// Gateway behind all of them ([vpcprobe/lab/apigateway]), and the places where
// AWS credentials come from. A [Fault] breaks one of these the way real VPCs
// are broken, while the lab runs; [Scenarios] lists the faults together with
// the findings that they must lead to.
//
// The lab needs no privileges and reaches nothing but 127.77/16: whoever dials
// through its network finds the lab's servers or no route at all. It knows
// nothing of how it is probed, and it imports no kind and no agent, so that
// what the agent believes is tested against somebody else.
package lab

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"vpcprobe/lab/apigateway"
	"vpcprobe/probes"
)

// A Lab is a running VPC. Several can run at once, in one process or many:
// they differ in their port.
type Lab struct {
	port    uint16
	lock    net.Listener // keeps other labs off the port
	dir     string       // of the files
	issuers *issuers
	partner *partner
	good    credential
	apis    *apigateway.Gateway
	web     *web

	far *apigateway.Gateway // of the other Region: it has no API at all

	fronts    map[netip.Addr]*front
	resolvers []*resolver

	changing sync.Mutex // one change at a time
	state    atomic.Pointer[state]
	attempts atomic.Int64 // to connect to flaky addresses
	visits   visits       // to the public web server
	close    sync.Once
}

// A Fault breaks a lab. Faults add up until [Lab.Heal].
type Fault func(*Lab)

// Start starts a healthy lab. Close stops it.
func Start() (*Lab, error) {
	l := &Lab{fronts: map[netip.Addr]*front{}}
	if err := l.start(); err != nil {
		l.Close()
		return nil, fmt.Errorf("lab: %w", err)
	}
	return l, nil
}

func (l *Lab) start() error {
	var err error
	if l.dir, err = os.MkdirTemp("", "vpcprobe-lab-"); err != nil {
		return err
	}
	if l.issuers, err = newIssuers(); err != nil {
		return err
	}
	if l.partner, err = newPartner(); err != nil {
		return err
	}
	if l.good, err = goodCredential(l.partner); err != nil {
		return err
	}
	s := healthy(l.good)
	l.state.Store(s)
	l.apis = apigateway.New(s.model)
	l.far = apigateway.New(&apigateway.State{Region: OtherRegion, Account: AccountID})
	if l.web, err = newWeb(); err != nil {
		return err
	}
	if err := l.listen(); err != nil {
		return err
	}
	if err := l.writeFixed(); err != nil {
		return err
	}
	return l.apply(s)
}

// listen finds a port that is free at all of the lab's addresses, and serves
// there.
func (l *Lab) listen() error {
	for range 50 {
		err := l.listenSomewhere()
		if err == nil {
			return nil
		}
		l.stopListening()
		if !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return errors.New("found no port that is free at all of the lab's addresses")
}

func (l *Lab) listenSomewhere() error {
	lock, err := net.Listen("tcp4", netip.AddrPortFrom(lockAddr(), 0).String())
	if err != nil {
		return err
	}
	l.lock = lock
	l.port = lock.Addr().(*net.TCPAddr).AddrPort().Port()
	for i, addr := range Resolvers() {
		r, err := newResolver(l.at(addr), func() (zone, reply) { s := l.state.Load(); return s.zones[i], s.replies[i] })
		if err != nil {
			return err
		}
		l.resolvers = append(l.resolvers, r)
	}
	for addr, serve := range l.servers() {
		f, err := newFront(l.at(addr), serve)
		if err != nil {
			return err
		}
		l.fronts[addr] = f
	}
	return nil
}

// servers says who talks at which address.
func (l *Lab) servers() map[netip.Addr]func(net.Conn) {
	who := map[netip.Addr]func(net.Conn){
		imdsStub(): l.plain(l.imds()),
		ecsStub():  l.plain(l.container("")),
		eksStub():  l.plain(l.container(containerToken)),
		stsStub():  l.sts,
		stsPlain(): l.plain(http.HandlerFunc(l.assumeRole)),
	}
	for _, addr := range append(ENIs(), otherENI(), farENI(), partnersENI(), controlSite(), publicStub(), blackHole()) {
		who[addr] = l.gateway(addr)
	}
	return who
}

func (l *Lab) stopListening() {
	for _, f := range l.fronts {
		f.close()
	}
	clear(l.fronts)
	for _, r := range l.resolvers {
		r.close()
	}
	l.resolvers = nil
	if l.lock != nil {
		l.lock.Close()
	}
}

// Close stops every server, cuts every connection, and removes the files.
func (l *Lab) Close() error {
	var err error
	l.close.Do(func() {
		l.stopListening()
		if l.web != nil {
			l.web.close()
		}
		if l.dir != "" {
			err = os.RemoveAll(l.dir)
		}
	})
	return err
}

// Port is the port on which everything in the lab listens.
func (l *Lab) Port() uint16 { return l.port }

// System is the machine as probes in the lab see it.
func (l *Lab) System() probes.System {
	return probes.System{Network: network{l}, ResolvConf: l.file("resolv.conf"), Hosts: l.file("hosts")}
}

// Requests returns the latest requests that reached API Gateway, and the truth
// about each.
func (l *Lab) Requests() []apigateway.Request { return l.apis.Requests() }

// Visits returns the requests that reached the public web server, or whatever
// answered in its place.
func (l *Lab) Visits() []Visit { return l.visits.all() }

// Heal undoes all faults. It is for labs that live; what the change of a
// running system cannot do on loopback is a failure of the lab, and panics.
func (l *Lab) Heal() { l.change(func(s *state) { *s = *healthy(l.good) }) }

// Break applies a fault to the running lab.
func (l *Lab) Break(f Fault) { f(l) }

// change lets edit work on a copy of the state and then makes the lab follow.
func (l *Lab) change(edit func(*state)) {
	l.changing.Lock()
	defer l.changing.Unlock()
	next := l.state.Load().clone()
	edit(next)
	if err := l.apply(next); err != nil {
		panic(fmt.Sprintf("lab: %v", err))
	}
}

// apply makes everything follow the state that is not asked at every event:
// the model, the listeners and the files.
func (l *Lab) apply(s *state) error {
	if d := s.model.Domains[PartnersDomain]; d != nil {
		d.Truststore = nil
		if s.regional.mutual != notAsked {
			d.Truststore = s.trusts()
		}
	}
	l.apis.Update(func(model *apigateway.State) { *model = *s.model.Clone() })
	if err := l.writeFiles(s); err != nil {
		return err
	}
	l.state.Store(s)
	for addr, f := range l.fronts {
		if err := f.set(s.links[addr]); err != nil {
			return fmt.Errorf("%v: %w", f.addr, err)
		}
	}
	return nil
}

// What the servers ask at every event.

func (l *Lab) link(addr netip.Addr) link           { return l.state.Load().links[addr] }
func (l *Lab) truststore() []*x509.Certificate     { return l.state.Load().trusts() }
func (l *Lab) peer(addr netip.Addr) func(net.Conn) { return l.state.Load().peers[addr] }

func (l *Lab) side(addr netip.Addr) side {
	s := l.state.Load()
	switch addr {
	case partnersENI():
		return s.regional
	case controlSite():
		return s.public
	}
	return s.private
}

func (l *Lab) at(addr netip.Addr) netip.AddrPort { return netip.AddrPortFrom(addr, l.port) }

func (l *Lab) file(name string) string { return filepath.Join(l.dir, name) }
