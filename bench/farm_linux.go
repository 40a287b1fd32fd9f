package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"vpcprobe/lab/netns"
)

// The farm is what is probed: it runs as a process of its own, on its own CPU,
// listens on all addresses of its namespace, and notes each probe when it has
// been served. It is told what to do by lines on its standard input.

// The farm's ports.
const (
	dnsPort   = 5300
	tcpPort   = 9000
	tlsPort   = 9443
	httpsPort = 9444
	plainPort = 9445  // TLS without a client certificate, for probers that cannot have one
	manyPort  = 10000 // and those after it: HTTPS again, so that packets tell targets apart
	manyPorts = 40
)

// zone holds the names of the targets: t00042.bench.test is target 42.
const zone = "bench.test"

func nameOf(target int) string { return fmt.Sprintf("t%05d", target) }
func hostOf(target int) string { return nameOf(target) + "." + zone }
func addrOf(target int) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 1, byte(target / 250), byte(target%250 + 1)})
}

// targetOf is the reverse of addrOf.
func targetOf(a netip.Addr) int {
	b := a.As4()
	return int(b[2])*250 + int(b[3]) - 1
}

// A layer is what is probed.
type layer string

const (
	dnsLayer   layer = "dns"
	tcpLayer   layer = "tcp"
	tlsLayer   layer = "tls"
	httpsLayer layer = "https"
	walkLayer  layer = "walk" // all four on one connection
)

// A tally is what the farm has served since it was told to mark.
type tally struct {
	Count  map[layer]int
	Stamps []stamp // if it was told to keep them
}

// A stamp is when a target was reached.
type stamp struct {
	Target int
	At     int64 // Unix time in nanoseconds
}

type farm struct {
	addr   netip.Addr // what names resolve to, if not to addresses of their own
	config *tls.Config
	plain  *tls.Config // asks for no client certificate

	mu     sync.Mutex
	tally  tally
	stamps layer
	tcp    net.Listener
}

// runFarm is the farm's main function.
func runFarm(args []string) error {
	flags := flag.NewFlagSet("farm", flag.ContinueOnError)
	folder := flags.String("certs", "", "")
	addr := flags.String("addr", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	debug.SetGCPercent(400) // its CPU must not be the limit
	f := &farm{tally: tally{Count: map[layer]int{}}}
	if *addr != "" {
		f.addr = netip.MustParseAddr(*addr)
	}
	var err error
	if f.config, err = serverConfig(*folder); err != nil {
		return err
	}
	f.plain = f.config.Clone()
	f.plain.ClientAuth = tls.NoClientCert
	if err := f.listen(); err != nil {
		return err
	}
	return f.obey(os.Stdin, json.NewEncoder(os.Stdout))
}

func (f *farm) listen() error {
	dns, err := net.ListenUDP("udp4", &net.UDPAddr{Port: dnsPort})
	if err != nil {
		return err
	}
	dns.SetReadBuffer(4 << 20)
	go f.serveDNS(dns)
	if err := f.open(); err != nil {
		return err
	}
	ports := map[int]func(net.Conn){
		tlsPort:   func(c net.Conn) { f.serveTLS(c, f.config) },
		plainPort: func(c net.Conn) { f.serveTLS(c, f.plain) },
		httpsPort: f.serveHTTPS,
	}
	for i := range manyPorts {
		ports[manyPort+i] = f.serveHTTPS
	}
	for port, serve := range ports {
		l, err := net.Listen("tcp4", ":"+strconv.Itoa(port))
		if err != nil {
			return err
		}
		go accept(l, serve)
	}
	return nil
}

// open opens the TCP port.
func (f *farm) open() (err error) {
	f.tcp, err = net.Listen("tcp4", ":"+strconv.Itoa(tcpPort))
	if err == nil {
		go accept(f.tcp, f.serveTCP)
	}
	return err
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			serve(conn)
		}()
	}
}

// obey carries out commands: mark, keep LAYER, read, down, up.
func (f *farm) obey(in io.Reader, out *json.Encoder) error {
	out.Encode(f.tally) // ready
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		f.mu.Lock()
		answer := tally{}
		var err error
		switch command {
		case "mark":
			f.tally = tally{Count: map[layer]int{}}
		case "keep":
			f.stamps = layer(argument)
			f.tally = tally{Count: map[layer]int{}}
		case "read":
			answer = f.tally
		case "down":
			err = f.tcp.Close()
		case "up":
			err = f.open()
		}
		if err == nil {
			err = out.Encode(answer)
		}
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// served notes a probe.
func (f *farm) served(l layer, target int, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tally.Count[l]++
	if f.stamps == l {
		f.tally.Stamps = append(f.tally.Stamps, stamp{target, at.UnixNano()})
	}
}

func targetOfConn(c net.Conn) int { return targetOf(c.LocalAddr().(*net.TCPAddr).AddrPort().Addr()) }

func (f *farm) serveTCP(c net.Conn) {
	f.served(tcpLayer, targetOfConn(c), time.Now())
	io.Copy(io.Discard, c)
}

func (f *farm) serveTLS(c net.Conn, config *tls.Config) {
	at := time.Now()
	t := tls.Server(c, config)
	if t.Handshake() != nil {
		return
	}
	f.served(tlsLayer, targetOfConn(c), at)
	io.Copy(io.Discard, t)
}

const answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 110\r\nConnection: close\r\n\r\n"

func (f *farm) serveHTTPS(c net.Conn) {
	at := time.Now()
	t := tls.Server(c, f.config)
	if t.Handshake() != nil {
		return
	}
	in := bufio.NewReader(t)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) <= 2 {
			break
		}
	}
	io.WriteString(t, answer+`{"state":"ok","pad":"`+strings.Repeat("x", 110-23)+`"}`)
	f.served(httpsLayer, targetOfConn(c), at)
	t.Close()
}

// serveDNS answers questions for the zone's names: A with the address that the
// name says, anything else with nothing.
func (f *farm) serveDNS(conn *net.UDPConn) {
	packet := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(packet)
		if err != nil {
			return
		}
		reply, target, isA := f.reply(packet[:n])
		if reply == nil {
			continue
		}
		conn.WriteToUDPAddrPort(reply, from)
		if isA {
			f.served(dnsLayer, target, time.Now())
		}
	}
}

// reply makes the answer to a question. The target is that of the name.
func (f *farm) reply(q []byte) (reply []byte, target int, isA bool) {
	const header = 12
	if len(q) < header+8 || q[header] != 6 {
		return nil, 0, false
	}
	end := header
	for end < len(q) && q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5 // the root, type and class
	if end > len(q) {
		return nil, 0, false
	}
	target, err := strconv.Atoi(string(q[header+2 : header+7]))
	if err != nil {
		return nil, 0, false
	}
	isA = binary.BigEndian.Uint16(q[end-4:]) == 1
	reply = append(make([]byte, 0, end+16), q[:end]...)
	reply[2], reply[3] = 0x84|q[2]&1, 0x80
	binary.BigEndian.PutUint64(reply[4:], 1<<48) // one question, nothing else
	if !isA {
		return reply, target, false
	}
	reply[7] = 1
	addr := f.addr
	if !addr.IsValid() {
		addr = addrOf(target)
	}
	a := addr.As4()
	reply = append(reply, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
	return append(reply, a[:]...), target, true
}

// A farmer tells the farm what to do.
type farmer struct {
	*process
	in  io.Writer
	out *json.Decoder
}

// startFarm starts a farm, inside a host of the lab unless in is nil.
func startFarm(in *netns.Namespace, certs string, args ...string) (*farmer, error) {
	cmd := self("farm", append([]string{"-certs", certs}, args...)...)
	commands, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := start(cmd, farmCPU, in)
	if err != nil {
		return nil, err
	}
	f := &farmer{p, commands, json.NewDecoder(out)}
	return f, f.out.Decode(new(tally))
}

// tell sends a command and returns the answer.
func (f *farmer) tell(command string) (tally, error) {
	var t tally
	if _, err := fmt.Fprintln(f.in, command); err != nil {
		return t, err
	}
	return t, f.out.Decode(&t)
}
