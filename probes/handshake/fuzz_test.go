package handshake

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"vpcprobe/probes"
)

// A server may say anything: the handshake ends in a known outcome, hands on
// nothing, and what is kept of it can be shown.
func FuzzServer(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add([]byte("\x15\x03\x03\x00\x02\x02\x28"))
	f.Add([]byte("\x15\x03\x01\x00\x02\x02\x46"))
	f.Add([]byte("\x16\x03\x03\x00\x2c\x02\x00\x00\x28\x03\x03" + strings.Repeat("r", 32) + "\x00\xc0\x2b\x00\x00\x00"))
	f.Add([]byte("\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01" + strings.Repeat("r", 32) + "\x00\xc0\x13\x00"))
	f.Add([]byte("\x14\x03\x03\x00\x01\x01\x1b[2J\x00\xff"))
	f.Add([]byte("\x16\x03\x03\x00,\x02\x00\x00(\x03\x03" + strings.Repeat("r", 22) + "@" + strings.Repeat(" ", 600)))
	client, err := NewClient(probes.Host(), &probes.Target{Kind: probes.CustomDomain, Settings: &probes.Settings{KeyExchange: "classical", Timeout: 5 * time.Second}})
	if err != nil {
		f.Fatal(err)
	}
	lane := lane(netip.MustParseAddrPort("127.0.0.1:443"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			theirs.Read(make([]byte, 4096))
			var wg sync.WaitGroup // a pipe has no buffer: who only writes may wait for one who does so, too
			wg.Go(func() { theirs.Write(answer) })
			theirs.SetDeadline(time.Now().Add(5 * time.Millisecond))
			theirs.Read(make([]byte, 4096))
			wg.Wait()
		}()
		conn, o := client.Shake(context.Background(), ours, lane, Variant{})
		if conn != nil {
			t.Fatal("verified a server without a certificate")
		}
		switch o.Outcome {
		case probes.Closed, probes.Reset, probes.Rejected, probes.NotTLS:
		default:
			t.Errorf("outcome %s: %v", o.Outcome, o.Err)
		}
		text, err := json.Marshal(o.Detail)
		if err != nil {
			t.Fatal(err)
		}
		line := string(text) + Of(o).String() + o.Err.Error()
		if i := strings.IndexFunc(line, unicode.IsControl); i >= 0 {
			t.Errorf("%q holds a control character", line)
		}
	})
}

func FuzzDistinguishedName(f *testing.F) {
	f.Add([]byte("0\x0f1\x0d0\x0b\x06\x03U\x04\x03\x0c\x04Root"))
	f.Add([]byte("0\x00"))
	f.Fuzz(func(t *testing.T, der []byte) {
		if name := distinguishedName(der); len([]rune(name)) > 257 || strings.ContainsFunc(name, unicode.IsControl) {
			t.Errorf("%q", name)
		}
	})
}
