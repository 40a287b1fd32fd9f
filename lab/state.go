package lab

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"vpcprobe/lab/apigateway"
)

// state is everything about the lab that can break. Faults change it; the
// servers read it at every query, connection and request.
type state struct {
	zones   []zone  // what each resolver knows
	replies []reply // how each resolver answers

	links map[netip.Addr]link           // open unless listed
	peers map[netip.Addr]func(net.Conn) // who answers instead of the TLS gateway

	private  side // the TLS of the endpoints
	regional side // the TLS of the Regional custom domain
	public   side // the TLS of the public web server
	model    *apigateway.State

	hosts       string       // further lines of the hosts file
	nameservers []netip.Addr // of resolv.conf
	credential  credential
	serverTrust []*x509.Certificate // nil: what the credential's truststore holds
	identity    identity
}

// identity is what the credential endpoints hand out.
type identity struct {
	source  handout
	secret  string
	expires time.Duration // from the moment of asking
}

// handout is how a credential endpoint behaves.
type handout int

const (
	hands    handout = iota
	hasNone          // answers that there are none for this caller
	isSilent         // the answer does not arrive, as with an IMDS hop limit of 1 in a container
)

// healthy returns the state of the unbroken lab.
func healthy(good credential) *state {
	s := &state{
		links: map[netip.Addr]link{PublicAddress(): open, publicStub(): silent, blackHole(): silent},
		peers: map[netip.Addr]func(net.Conn){},
		private: side{
			expires: 300 * day,
			min:     tls.VersionTLS12, max: tls.VersionTLS13,
		},
		regional: side{
			expires: 300 * day,
			min:     tls.VersionTLS12, max: tls.VersionTLS12, // as mutual TLS was seen (FACTS.md 2.4, 3.2)
			mutual: asApigw,
			alpn:   []string{"h2", "http/1.1"},
		},
		public: side{
			expires: 300 * day,
			min:     tls.VersionTLS12, max: tls.VersionTLS13,
		},
		model:       healthyModel(),
		nameservers: Resolvers()[:1],
		credential:  good,
		identity:    identity{secret: SecretAccessKey, expires: time.Hour},
	}
	for range Resolvers() {
		s.zones = append(s.zones, healthyZone())
		s.replies = append(s.replies, properly)
	}
	s.model.Domains[PartnersDomain].Truststore = slices.Clone(good.trusts)
	return s
}

// clone copies what a fault may change, so that a server that still reads the
// old state is not disturbed. Functions and certificates are shared.
func (s *state) clone() *state {
	c := *s
	c.zones = nil
	for _, z := range s.zones {
		c.zones = append(c.zones, zone{addrs: maps.Clone(z.addrs), cnames: maps.Clone(z.cnames)})
	}
	c.replies = slices.Clone(s.replies)
	c.links = maps.Clone(s.links)
	c.peers = maps.Clone(s.peers)
	c.model = s.model.Clone()
	return &c
}

// trusts is what the server of the mutual TLS domain trusts.
func (s *state) trusts() []*x509.Certificate {
	if s.serverTrust != nil {
		return s.serverTrust
	}
	return s.credential.trusts
}
