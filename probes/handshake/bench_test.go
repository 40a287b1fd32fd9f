package handshake

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"vpcprobe/probes"
	"vpcprobe/probes/identify/certtest"
)

// BenchmarkShake measures handshakes with a client certificate, TCP and both
// sides included.
func BenchmarkShake(b *testing.B) {
	ca := certtest.Root(b, "Root")
	client := ca.Issue(b, "client")
	file := func(name string, content []byte) string {
		path := filepath.Join(b.TempDir(), name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	config := only(tls.VersionTLS13, ca.Issue(b, "server", certtest.Names(domain)).TLS())
	config.ClientAuth, config.SessionTicketsDisabled = tls.RequestClientCert, true
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			speak(config)(conn)
		}
	}()
	c, err := NewClient(probes.Host(), &probes.Target{
		Kind: probes.CustomDomain,
		Settings: &probes.Settings{
			KeyExchange:       "classical",
			Trust:             probes.Trust{CAFile: file("ca.pem", ca.PEM())},
			ClientCertificate: probes.ClientCertificate{Certificate: file("c.pem", client.PEM()), Key: file("c.key", client.KeyPEM(b))},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	lane := lane(l.Addr().(*net.TCPAddr).AddrPort())
	b.ReportAllocs()
	for b.Loop() {
		conn, err := net.Dial("tcp", lane.Addr.String())
		if err != nil {
			b.Fatal(err)
		}
		secured, o := c.Shake(context.Background(), conn, lane, Variant{})
		if o.Outcome != probes.OK {
			b.Fatal(o.Err)
		}
		secured.Close()
	}
}
