package netns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A server completes TLS handshakes and answers one line with "ok".
type server struct {
	listener net.Listener
	config   *tls.Config
	accepted atomic.Int64
	ended    sync.WaitGroup
	mu       sync.Mutex
	open     map[net.Conn]bool // nil when closed
}

// serveTLS listens inside a namespace.
func serveTLS(n *Namespace, address string) (*server, error) {
	certificate, err := longCertificate()
	if err != nil {
		return nil, err
	}
	s := &server{config: &tls.Config{Certificates: []tls.Certificate{certificate}}, open: map[net.Conn]bool{}}
	if err := n.Do(func() (err error) {
		s.listener, err = net.Listen("tcp", address)
		return err
	}); err != nil {
		return nil, err
	}
	s.ended.Go(s.accept)
	return s, nil
}

func (s *server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.accepted.Add(1)
		if !s.keep(conn) {
			return
		}
		s.ended.Go(func() { s.answer(conn) })
	}
}

func (s *server) answer(conn net.Conn) {
	defer s.drop(conn)
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Server(conn, s.config)
	if _, err := c.Read(make([]byte, 1024)); err != nil {
		return
	}
	c.Write([]byte("ok\n"))
	c.Close()
}

// keep notes an open connection, false if the server is closed.
func (s *server) keep(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		conn.Close()
		return false
	}
	s.open[conn] = true
	return true
}

func (s *server) drop(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, conn)
	conn.Close()
}

// close ends the server and its connections.
func (s *server) close() {
	if s == nil {
		return
	}
	s.listener.Close()
	s.mu.Lock()
	for conn := range s.open {
		conn.Close()
	}
	s.open = nil
	s.mu.Unlock()
	s.ended.Wait()
}

// longCertificate makes a certificate of about 4.5 KB, as long as a public
// chain of three, so that the server's answer fills several segments.
func longCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"}, DNSNames: []string{"lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour),
	}
	for i := range 150 {
		template.DNSNames = append(template.DNSNames, fmt.Sprintf("n%03d.%s.example.test", i, strings.Repeat("x", 12)))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
