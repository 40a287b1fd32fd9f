package invoke

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"vpcprobe/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const host = "api.test"

// A world is a TLS server on loopback that talks as it is told, and a target
// that trusts it.
type world struct {
	target *probes.Target
	lane   probes.Lane
	config *tls.Config

	mu   sync.Mutex
	sent []string // the requests that came
}

// newWorld starts a server that hands each connection, after the handshake and
// one request, to talk.
func newWorld(t *testing.T, talk func(net.Conn), edits ...func(*world)) *world {
	t.Helper()
	w := &world{config: &tls.Config{}}
	root := w.certify(t)
	w.target = &probes.Target{
		Name:   "test",
		Kind:   probes.CustomDomain,
		Domain: host,
		API:    "a1b2c3d4e5",
		Region: "eu-west-1",
		Path:   "/health",
		Settings: &probes.Settings{
			Method:  "GET",
			Via:     []probes.Via{probes.ViaDomain},
			Timeout: 5 * time.Second,
			Trust:   probes.Trust{CAFile: root},
		},
	}
	for _, edit := range edits {
		edit(w)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.lane = probes.Lane{Via: w.target.Via[0], ServerName: host, Addr: netip.MustParseAddrPort(l.Addr().String()), Answered: true}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { w.serve(conn, talk) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return w
}

// certify makes the server's certificate and returns the file of its root.
func (w *world) certify(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	w.config.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	path := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (w *world) serve(raw net.Conn, talk func(net.Conn)) {
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Server(raw, w.config)
	if conn.Handshake() != nil {
		return
	}
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		talk(conn)
		return
	}
	request, err := readRequest(conn)
	if err != nil {
		return
	}
	w.mu.Lock()
	w.sent = append(w.sent, request)
	w.mu.Unlock()
	talk(&recorded{conn, request})
}

// A recorded connection knows the request that came on it.
type recorded struct {
	*tls.Conn
	request string
}

// readRequest reads what was sent, headers and body.
func readRequest(conn net.Conn) (string, error) {
	var b strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		b.Write(buf[:n])
		head, body, whole := strings.Cut(b.String(), "\r\n\r\n")
		if whole {
			length := 0
			for line := range strings.Lines(head) {
				if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
					for _, d := range strings.TrimSpace(v) {
						length = 10*length + int(d-'0')
					}
				}
			}
			if len(body) >= length {
				return b.String(), nil
			}
		}
		if err != nil {
			return "", err
		}
	}
}

// says answers with a text.
func says(text string) func(net.Conn) {
	return func(c net.Conn) { io.WriteString(c, text) }
}

// saysAndListens says something and reads on until the client hangs up. A
// server that closes with something unread resets, and its words may be lost.
func saysAndListens(text string) func(net.Conn) {
	return func(c net.Conn) {
		io.WriteString(c, text)
		io.Copy(io.Discard, c)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) client(t *testing.T) *Client {
	t.Helper()
	c, err := Clients(probes.System{Network: &net.Dialer{}}, "vpcprobe/test", false)(w.target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call sends the target's request once.
func (w *world) call(t *testing.T) probes.Observation {
	t.Helper()
	return w.client(t).Call(context.Background(), w.lane, Request{})
}

// requests returns what was received.
func (w *world) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

// gatewayAnswer is an answer with API Gateway's marks.
func gatewayAnswer(status, errorType, body string) string {
	if errorType != "" {
		errorType = "x-amzn-ErrorType: " + errorType + "\r\n"
	}
	return "HTTP/1.1 " + status + "\r\nDate: " + time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") +
		"\r\nx-amzn-RequestId: 11112222-3333-4444-5555-666677778888\r\nx-amz-apigw-id: AbCdEf=\r\n" + errorType +
		"Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

func itoa(n int) string { return big.NewInt(int64(n)).String() }

// refusing returns an address where nobody listens.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}
