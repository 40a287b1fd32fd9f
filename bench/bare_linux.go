package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// bares are the layers of which there is a bare loop, by what one of its workers does.
var bares = map[layer]func(worker int) (func(n int) error, error){dnsLayer: lookups, tcpLayer: connects}

// bare is the main function of a program that does nothing but what each probe of
// a layer must do, dial from a new port, ask and close, 32 at once, as often as it
// can. It prints how often a second: what any prober in Go could do on this
// machine, if it neither scheduled nor judged nor remembered anything.
func bare(args []string) error {
	what := layer(strings.Join(args, " "))
	loop, ok := bares[what]
	if !ok {
		return fmt.Errorf("no bare loop for %q", what)
	}
	var made atomic.Int64
	failed := make(chan error, 1)
	for worker := range 32 {
		once, err := loop(worker)
		if err != nil {
			return err
		}
		go func() {
			for n := 0; ; n++ {
				if err := once(n); err != nil {
					select {
					case failed <- err:
					default:
					}
					return
				}
				made.Add(1)
			}
		}()
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

// lookups returns a lookup.
func lookups(worker int) (func(n int) error, error) {
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

// connects returns a connect, to one of 250 addresses.
func connects(worker int) (func(n int) error, error) {
	return func(n int) error {
		conn, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: addrOf(worker*250 + n%250).AsSlice(), Port: tcpPort})
		if err != nil {
			return err
		}
		conn.SetLinger(0)
		return conn.Close()
	}, nil
}

// limit is how often a second the bare loop of a layer does its work, at best, as
// with the rates; 0 if there is none.
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
	if bares[l] == nil {
		return 0, nil
	}
	cmd := self("bare", string(l))
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
