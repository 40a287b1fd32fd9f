package handshake

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/connect"
)

// The bounds of the wait for a server's verdict.
const (
	minPatience = 50 * time.Millisecond
	maxPatience = time.Second
)

// Verdict waits for what a TLS 1.3 server thinks of the client certificate,
// or of its absence: a session ticket, an alert, a cut, or a while without any
// of them. It returns the observation of [Client.Shake], corrected by what
// came. The connection is good for nothing but closing afterwards.
//
// It waits only where a certificate was asked for, twice as long as the
// handshake took, which is at least twice the round trip, and 50 ms at least.
func Verdict(ctx context.Context, conn net.Conn, o probes.Observation) probes.Observation {
	d := Of(o)
	t, ok := conn.(*tls.Conn)
	if !ok || d == nil || !d.Asked || d.Verdict != "" || o.Outcome != probes.OK {
		return o
	}
	opinion, err := hear(ctx, t, patience(o))
	if ctx.Err() != nil {
		return o
	}
	heard := *d
	heard.Verdict = opinion
	if opinion == Refused {
		o.Outcome = probes.Classify(err)
		if code, text, ok := Alert(err); ok {
			o.Outcome, heard.AlertCode, heard.Alert = probes.Rejected, code, text
		}
		o.Err = scrubbed{err}
	}
	o.Detail = &heard
	return o
}

// Passed reports whether the server has shown on a connection of [Client.Shake]
// that it takes the client certificate, or its absence: the handshake of TLS 1.2
// ends with that, and in TLS 1.3 the server has offered a session since.
func Passed(conn net.Conn) bool {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return false
	}
	w, ok := t.NetConn().(*wire)
	return t.ConnectionState().Version < tls.VersionTLS13 || ok && w.bell.heard()
}

// patience is when to stop waiting for what the server may say next.
func patience(o probes.Observation) time.Time {
	return probes.AfterGrid(time.Now().Add(min(max(2*o.Took(), minPatience), maxPatience)))
}

// hear reads until the server says something, hangs up, or is silent for too
// long. The error says how it refused us.
func hear(ctx context.Context, t *tls.Conn, until time.Time) (Opinion, error) {
	var ticket *bell
	if w, ok := t.NetConn().(*wire); ok {
		ticket = w.bell
		ticket.listen(func() { t.SetReadDeadline(time.Unix(1, 0)) }) // while we read
	}
	err := connect.Listen(ctx, t, until)
	switch {
	case err == nil || ticket != nil && ticket.heard():
		return Accepted, nil
	case probes.Classify(err) == probes.Timeout:
		return Silent, nil
	case probes.Classify(err) == probes.Fault && !isAlert(err):
		return Silent, nil
	}
	return Refused, err
}

func isAlert(err error) bool {
	_, _, ok := Alert(err)
	return ok
}
