package handshake

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/identify"
	"vpcprobe/probes/trace"
)

// A Detail is what a handshake showed. Its foreign text is scrubbed.
type Detail struct {
	ServerName string `json:"server_name"`       // SNI
	Version    string `json:"version,omitempty"` // TLS 1.3
	Cipher     string `json:"cipher,omitempty"`  // TLS_AES_128_GCM_SHA256
	Group      string `json:"group,omitempty"`   // X25519
	ALPN       string `json:"alpn,omitempty"`    // what was agreed on, if anything: h2

	// Chain is what the server sent, its own certificate first; at most ten.
	Chain []identify.Certificate `json:"chain,omitempty"`
	// NotAfter is when the first certificate of the verified chain expires; of
	// the server's own, if there is no verified chain.
	NotAfter    time.Time `json:"not_after,omitzero"`
	NameMatches bool      `json:"name_matches"`    // the certificate is for ServerName
	Flaws       []string  `json:"flaws,omitempty"` // whatever is wrong with the server's certificate

	Asked         bool     `json:"client_certificate_asked"` // by the server
	Sent          bool     `json:"client_certificate_sent"`  // by us
	AcceptableCAs []string `json:"acceptable_cas,omitempty"` // whom the server says it trusts; at most 32
	IssuerListed  *bool    `json:"issuer_listed,omitempty"`  // whether the issuer of what we sent is among them
	Verdict       Opinion  `json:"client_certificate_verdict,omitempty"`

	Alert     string `json:"alert,omitempty"`      // the alert that the server sent, as in RFC 8446: bad_certificate
	AlertCode uint8  `json:"alert_code,omitempty"` // its number
	Heard     string `json:"heard,omitempty"`      // the first words of a peer that does not speak TLS
	BytesRead int64  `json:"bytes_read"`           // until the handshake ended
	// Unprompted says that after a cut before the first byte another
	// connection, on which nothing was said, was cut as well.
	Unprompted bool `json:"cut_unprompted,omitempty"`

	// Segments is what the kernel knew of the connection's segments when the
	// handshake ended: the largest that were sent, the path MTU it believes in,
	// and what was lost. It costs nothing, and a handshake that timed out with
	// a gap before its largest segment met a path that loses large packets.
	Segments *trace.Segments `json:"segments,omitempty"`

	at time.Time // when the handshake began
	// hello is the version in the server hello, 0 if none came: it is known
	// even where the library refuses it.
	hello uint16
	// unsigned says that our key can make none of the signatures that the
	// server accepts.
	unsigned bool
	shown    *[][]byte // the client certificate that was sent, and what went with it; nil if none
}

// An Opinion is what the server thinks of the client certificate, or of its
// absence, as far as TLS shows it. API Gateway completes the handshake with
// certificates that it does not trust, and denies the request with 403.
type Opinion string

// The opinions.
const (
	Accepted Opinion = "accepted" // the server went on after it had seen the certificate
	Refused  Opinion = "refused"  // it sent an alert, or cut the connection
	Silent   Opinion = "silent"   // nothing came within the time given
)

// Of returns what a handshake showed, or nil if o is not of this kind.
func Of(o probes.Observation) *Detail {
	d, _ := o.Detail.(*Detail)
	return d
}

// String is the handshake in a line.
func (d *Detail) String() string {
	var parts []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(d.Version != "", "%s", d.Version)
	if len(d.Chain) > 0 {
		add(true, "%s, %s", d.leafName(), left(d.NotAfter.Sub(d.at)))
	}
	add(d.Asked && d.Sent, "client certificate asked for and sent")
	add(d.Asked && !d.Sent, "client certificate asked for, none sent")
	add(d.Alert != "", "alert %s", d.Alert)
	add(d.Heard != "", "heard %q", d.Heard)
	if parts == nil {
		return fmt.Sprintf("%d bytes read", d.BytesRead)
	}
	return strings.Join(parts, ", ")
}

// leafName is the name by which people know the server's certificate.
func (d *Detail) leafName() string {
	if leaf := d.Chain[0]; len(leaf.Names) > 0 {
		return leaf.Names[0]
	}
	return d.Chain[0].Subject
}

// left says how long something remains valid.
func left(t time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case t <= -day:
		return fmt.Sprintf("expired %s ago", days(-t))
	case t <= 0:
		return "expired"
	case t < 2*day:
		return fmt.Sprintf("%d hours left", t/time.Hour)
	}
	return days(t) + " left"
}

func days(t time.Duration) string {
	n := int(t / (24 * time.Hour))
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// agreed notes what the two sides agreed on, as far as they came.
func (d *Detail) agreed(s tls.ConnectionState) {
	if s.Version == 0 {
		return
	}
	d.Version, d.ALPN = tls.VersionName(s.Version), s.NegotiatedProtocol
	if s.CipherSuite != 0 {
		d.Cipher = tls.CipherSuiteName(s.CipherSuite)
	}
	d.Group = groupName(s.CurveID)
}

// groupName is the name of a key exchange in the TLS registry, with the
// dashes that people know P-256 by.
func groupName(id tls.CurveID) string {
	switch id {
	case 0:
		return ""
	case tls.CurveP256:
		return "P-256"
	case tls.CurveP384:
		return "P-384"
	case tls.CurveP521:
		return "P-521"
	}
	return id.String()
}
