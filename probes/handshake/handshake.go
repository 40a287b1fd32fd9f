// Package handshake completes a TLS handshake on every lane and reads what
// the server shows, asks for and thinks of the client certificate. It replaces
// openssl s_client.
//
// It judges the server's certificate by itself, after the library's own
// verification was switched off, so that everything seen is known even if the
// verdict is bad; and it never hands on a connection to a server that it did
// not verify.
package handshake

import (
	"context"
	"net"

	"vpcprobe/probes"
)

const name = "handshake"

// Kind shakes hands.
var Kind = probes.Kind{
	Name:  name,
	Doc:   "completes TLS with the client certificate and reads the server's verdict (replaces openssl s_client)",
	Per:   probes.PerLane,
	Rules: Rules,
	New:   func(sys probes.System) probes.Constructor { return func(*probes.Target) (probes.Probe, error) { return nil, nil } },
}

// Rules are the root causes found in handshakes.
var Rules = []*probes.Rule{}

// A Choice says which client certificate to show.
type Choice int

// The choices of a client certificate.
const (
	Own     Choice = iota // the target's, if it has one
	None                  // none
	Control               // a throwaway one that no server trusts
)

// A Variant departs from the target as configured; its zero value does not.
type Variant struct {
	ServerName  string // SNI, and the name that the certificate must be for; the lane's unless given
	Certificate Choice
}

// A Client shakes hands as one target is configured to.
type Client struct{}

// NewClient returns a client for the target.
func NewClient(sys probes.System, t *probes.Target) (*Client, error) { return &Client{}, nil }

// Shake completes TLS on conn, which it owns from now on. The connection it
// returns is nil unless the server was verified.
func (c *Client) Shake(ctx context.Context, conn net.Conn, lane probes.Lane, v Variant) (net.Conn, probes.Observation) {
	return nil, probes.Observation{Kind: name, Outcome: probes.Fault}
}

// Verdict waits for what a TLS 1.3 server thinks of the client certificate: a
// session ticket, an alert or a cut, or a while without any of them. It
// returns the observation of Shake, corrected by what came. The connection is
// good for nothing but closing afterwards.
func Verdict(ctx context.Context, conn net.Conn, o probes.Observation) probes.Observation { return o }

// A Detail is what a handshake showed.
type Detail struct {
	ServerName    string   `json:"server_name"`
	Version       string   `json:"version,omitempty"`
	Cipher        string   `json:"cipher,omitempty"`
	Group         string   `json:"group,omitempty"`
	ALPN          string   `json:"alpn,omitempty"`
	Asked         bool     `json:"client_certificate_asked"` // the server asked for a client certificate
	Sent          bool     `json:"client_certificate_sent"`
	AcceptableCAs []string `json:"acceptable_cas,omitempty"`
	Alert         string   `json:"alert,omitempty"` // the alert that the server sent: bad_certificate
	BytesRead     int64    `json:"bytes_read"`
}

// Of returns what a handshake showed, or nil if o is not of this kind.
func Of(o probes.Observation) *Detail {
	d, _ := o.Detail.(*Detail)
	return d
}

// On returns what the latest handshake on the lane showed, or nil.
func On(seen probes.Evidence, lane probes.Lane) *Detail {
	o, _ := seen.On(name, lane)
	return Of(o)
}

// OK reports whether the latest handshake on the lane ended well.
func OK(seen probes.Evidence, lane probes.Lane) bool {
	o, ok := seen.On(name, lane)
	return ok && o.Outcome == probes.OK
}

// Asked reports whether the server asked for a client certificate in the
// latest handshake on the lane.
func Asked(seen probes.Evidence, lane probes.Lane) bool {
	d := On(seen, lane)
	return d != nil && d.Asked
}

// Sent reports whether the client certificate was sent in the latest handshake
// on the lane.
func Sent(seen probes.Evidence, lane probes.Lane) bool {
	d := On(seen, lane)
	return d != nil && d.Sent
}

// Alert returns the TLS alert that err reports to have come from the peer:
// its code and its name in RFC 8446, such as 42 and "bad_certificate".
func Alert(err error) (code uint8, text string, ok bool) { return 0, "", false }
