package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// A bare loop's work for one layer: what each of its workers does, again and again.
// The certificates are in the folder.
var bares = map[layer]func(worker int, folder string) (func(n int) error, error){
	dnsLayer: lookups, tcpLayer: connects, tlsLayer: handshakes, httpsLayer: requests,
}

const bareWorkers = 32

// bare is the main function of a program that does nothing but what each probe of
// a layer must do, from dialing from a new port to closing. It neither schedules
// single targets nor judges nor remembers anything. Its arguments are the layer,
// the folder of the certificates, and a rate: so many a second, each 25 ms as many
// as are due, until it is ended; or, if that is 0, as often as it can for some
// seconds, and it prints how often a second that was.
func bare(args []string) error {
	if len(args) != 3 || bares[layer(args[0])] == nil {
		return fmt.Errorf("no bare loop for %q", args)
	}
	rate, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var due chan struct{} // nil: always
	if rate > 0 {
		due = make(chan struct{}, rate)
	}
	var made atomic.Int64
	failed := make(chan error, bareWorkers)
	for worker := range bareWorkers {
		once, err := bares[layer(args[0])](worker, args[1])
		if err != nil {
			return err
		}
		go func() {
			for n := 0; ; n++ {
				if due != nil {
					<-due
				}
				if err := once(n); err != nil {
					failed <- err
					return
				}
				made.Add(1)
			}
		}()
	}
	if due != nil {
		return pace(due, rate, failed)
	}
	time.Sleep(time.Second)
	before, begin := made.Load(), time.Now()
	select {
	case err := <-failed:
		return err
	case <-time.After(3 * time.Second):
	}
	fmt.Println(int(float64(made.Load()-before) / time.Since(begin).Seconds()))
	return nil
}

// pace lets so many a second be made, until one fails.
func pace(due chan<- struct{}, rate int, failed <-chan error) error {
	for at := time.Now().Truncate(grid); ; at = at.Add(grid) {
		select {
		case err := <-failed:
			return err
		case <-time.After(time.Until(at)):
		}
		for range rate / int(time.Second/grid) {
			due <- struct{}{}
		}
	}
}

// lookups returns a lookup.
func lookups(worker int, _ string) (func(n int) error, error) {
	question, err := new(dns.Msg).SetQuestion(hostOf(worker)+".", dns.TypeA).Pack()
	reply := make([]byte, 512)
	return func(int) error {
		conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: dnsPort})
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := conn.Write(question); err != nil {
			return err
		}
		_, err = conn.Read(reply)
		return err
	}, err
}

// dial connects to one of a worker's 250 addresses.
func dial(worker, n, port int) (*net.TCPConn, error) {
	conn, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: addrOf(worker*250 + n%250).AsSlice(), Port: port})
	if err == nil {
		err = conn.SetLinger(0)
	}
	return conn, err
}

// connects returns a connect.
func connects(worker int, _ string) (func(n int) error, error) {
	return func(n int) error {
		conn, err := dial(worker, n, tcpPort)
		if err != nil {
			return err
		}
		return conn.Close()
	}, nil
}

// handshakes returns a connect and a handshake with a client certificate, classical
// keys, and a chain that is verified once.
func handshakes(worker int, folder string) (func(n int) error, error) {
	return secured(worker, folder, tlsPort, func(*tls.Conn) error { return nil })
}

// requests returns the same with a request, which is not signed.
func requests(worker int, folder string) (func(n int) error, error) {
	request := []byte("GET /health HTTP/1.1\r\nHost: " + hostOf(worker) + "\r\nUser-Agent: bare\r\n\r\n")
	reply := make([]byte, 4096)
	return secured(worker, folder, httpsPort, func(conn *tls.Conn) error {
		if _, err := conn.Write(request); err != nil {
			return err
		}
		for {
			if _, err := conn.Read(reply); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

func secured(worker int, folder string, port int, then func(*tls.Conn) error) (func(n int) error, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, clientFile+".pem"), filepath.Join(folder, clientFile+".key"))
	if err != nil {
		return nil, err
	}
	root, err := os.ReadFile(filepath.Join(folder, rootFile))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	var verified []byte // the certificate that was verified
	config := &tls.Config{
		Certificates: []tls.Certificate{pair}, ServerName: hostOf(worker), CurvePreferences: []tls.CurveID{tls.X25519},
		InsecureSkipVerify: true, // below
		VerifyConnection: func(state tls.ConnectionState) error {
			leaf := state.PeerCertificates[0]
			if bytes.Equal(leaf.Raw, verified) {
				return nil
			}
			_, err := leaf.Verify(x509.VerifyOptions{DNSName: state.ServerName, Roots: roots})
			if err == nil {
				verified = leaf.Raw
			}
			return err
		},
	}
	return func(n int) error {
		raw, err := dial(worker, n, port)
		if err != nil {
			return err
		}
		conn := tls.Client(raw, config)
		defer conn.Close()
		if err := conn.Handshake(); err != nil {
			return err
		}
		return then(conn)
	}, nil
}

// limit is how often a second the bare loop of a layer does its work, at best, as
// with the rates.
func (b *bench) limit(l layer) (best float64, err error) {
	for range 3 {
		one, err := b.loop(l)
		if err != nil {
			return 0, err
		}
		best = max(best, one)
	}
	return best, nil
}

// loop runs the bare loop of a layer once, see [bench.limit].
func (b *bench) loop(l layer) (float64, error) {
	cmd := self("bare", string(l), b.folder, "0")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	p, err := start(cmd, proberCPU, nil)
	if err != nil {
		return 0, err
	}
	if err := p.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("bare loop of %s: %w", l, err)
	}
	return strconv.ParseFloat(string(bytes.TrimSpace(out.Bytes())), 64)
}

// paced is the bare loop of a layer as a peer, which does its work at the rate of a job.
func paced() *peer {
	p := &peer{name: "bare loop", binary: "/proc/self/exe"}
	p.args = func(folder string, j job) ([]string, error) {
		return []string{"bare", string(j.layer), folder, strconv.Itoa(int(j.rate()))}, nil
	}
	p.ramp = func(job) time.Duration { return 0 }
	return p
}
