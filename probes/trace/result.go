package trace

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"time"
)

// State is how a port turned out, in one word.
type State string

// The states of a port.
const (
	Open            State = "open"             // a SYN/ACK came back
	Refused         State = "refused"          // a reset came back
	Prohibited      State = "prohibited"       // ICMP: administratively prohibited
	PortUnreachable State = "port-unreachable" // ICMP: port unreachable, the default REJECT of packet filters
	HostUnreachable State = "host-unreachable" // ICMP: the last router, or this host, gets no answer to ARP or neighbor discovery
	NetUnreachable  State = "net-unreachable"  // ICMP: a router has no route
	Loop            State = "loop"             // packets circle between routers until their TTL is used up
	Filtered        State = "filtered"         // silence: nothing came back to any full-TTL SYN
	Local           State = "local"            // this host refused to send: no route, a policy, no free port
	Unfinished      State = "unfinished"       // the trace was cut short before it could conclude anything
)

// Answer is what one packet got back.
type Answer string

// The answers to a packet.
const (
	Silent       Answer = "silent"        // nothing
	SynAck       Answer = "syn-ack"       // TCP: the handshake completed
	Rst          Answer = "rst"           // TCP: a reset
	Datagram     Answer = "datagram"      // UDP: an answer from the target
	TimeExceeded Answer = "time-exceeded" // ICMP: a router used up the TTL
	Unreachable  Answer = "unreachable"   // ICMP: destination unreachable, with a code that says why
	SomeICMP     Answer = "some-icmp"     // an ICMP error of which this kernel does not tell sender or type (Linux before 5.8)
	NotSent      Answer = "not-sent"      // this host refused to send
)

// terminal reports whether the answer ends the path: what is behind its sender
// is not seen by packets like this one.
func (a Answer) terminal() bool {
	return a == SynAck || a == Rst || a == Datagram || a == Unreachable
}

// Clock says which clock measured a round trip.
type Clock string

// The clocks.
const (
	KernelClock  Clock = "kernel"  // the kernel's receive timestamp of the ICMP message
	TCPInfoClock Clock = "tcpinfo" // the kernel's own measurement, SYN to SYN/ACK
	UserClock    Clock = "user"    // our clock; includes the time until this process was scheduled
)

// Milliseconds is a duration whose JSON form is a number of milliseconds.
type Milliseconds time.Duration

// MarshalJSON writes the duration as milliseconds, to the microsecond.
func (d Milliseconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Duration(d).Round(time.Microsecond).Microseconds()) / 1000)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (d *Milliseconds) UnmarshalJSON(b []byte) error {
	var ms float64
	if err := json.Unmarshal(b, &ms); err != nil {
		return err
	}
	*d = Milliseconds(time.Duration(ms * float64(time.Millisecond)).Round(time.Microsecond))
	return nil
}

// A Reply is what one packet got back, from whom, and when.
type Reply struct {
	Answer   Answer       `json:"answer"`
	From     netip.Addr   `json:"from,omitzero"`        // who answered
	ICMPType uint8        `json:"icmp_type,omitempty"`  // of an ICMP answer
	ICMPCode uint8        `json:"icmp_code,omitempty"`  //
	RTT      Milliseconds `json:"rtt_ms,omitzero"`      // packet sent until answer received
	Clock    Clock        `json:"clock,omitempty"`      // by which clock
	Port     uint16       `json:"port,omitempty"`       // our source port
	ReplyTTL int          `json:"reply_ttl,omitempty"`  // TTL left in the ICMP message: how far back its sender is
	SentMSS  int          `json:"sent_mss,omitempty"`   // the MSS option in our SYN, in bytes
	SawMSS   int          `json:"quoted_mss,omitempty"` // the MSS option in the SYN as the router saw it; 0 if it quoted too little
	Error    string       `json:"error,omitempty"`      // of a packet that was not sent

	err error
}

// A Hop is what was learned with one TTL. Its Reply is the quickest one; Addrs
// are all that answered at this distance: more than one if the routers before
// it spread flows over several ways (ECMP), since each packet of the parallel
// trace has its own source port and so is a flow of its own.
type Hop struct {
	TTL int `json:"ttl"`
	Reply
	Addrs []netip.Addr `json:"addrs,omitempty"`
	Sent  int          `json:"sent"`            // packets sent with this TTL
	Fixed *Reply       `json:"fixed,omitempty"` // the answer to the one flow of the Paris pass
}

// An MSSRewrite says that a device on the way changed the MSS option of our
// SYN, the largest segment that we are willing to receive.
type MSSRewrite struct {
	From   int `json:"from"`   // as we, or the hop before, sent it
	To     int `json:"to"`     // as the hop saw it
	Before int `json:"before"` // the TTL of the first hop that saw it
}

// A Change says how the path differs from what it used to be.
type Change struct {
	At   time.Time `json:"at"`            // when it was noticed
	Hop  int       `json:"hop,omitempty"` // the hop that changed; 0 if it is the length
	From string    `json:"from"`          // what it was: an address, or a length
	To   string    `json:"to"`            // what it is
}

// A Result is the outcome of one trace.
type Result struct {
	Target  netip.AddrPort `json:"target"`
	State   State          `json:"state"`
	Verdict string         `json:"verdict"` // what the path says about the state, in words

	Hops    []Hop   `json:"hops,omitempty"`    // by TCP, up to where the target answers
	Control []Hop   `json:"control,omitempty"` // the same way by UDP, if asked for
	Direct  []Reply `json:"direct,omitempty"`  // the answers to SYNs with the full TTL

	EndsAt     int `json:"ends_at,omitempty"`     // the lowest TTL that got the answer which decides the state; 0 if unknown
	PathLength int `json:"path_length,omitempty"` // EndsAt of an open port, as the mode of several runs if there were any
	LastHop    int `json:"last_hop,omitempty"`    // the farthest router that answered; 0 if none did
	SilentFrom int `json:"silent_from,omitempty"` // for a filtered port: the first TTL of the silence; 1 if nothing answered at all

	RejectedBy netip.Addr `json:"rejected_by,omitzero"`   // who sent the ICMP error
	RejectedAt int        `json:"rejected_at,omitempty"`  // its TTL, if it answers with time exceeded too
	ByThisHost bool       `json:"by_this_host,omitempty"` // the ICMP error is this host's own
	Between    bool       `json:"between,omitempty"`      // a device before the target answered in its place
	PathUp     bool       `json:"path_up,omitempty"`      // UDP reaches the target though TCP does not

	MSS     *MSSRewrite `json:"mss,omitempty"`
	PeerMSS int         `json:"peer_mss,omitempty"` // the target's, as it arrived here, less the options in use
	PathMTU int         `json:"path_mtu,omitempty"` // what the kernel believes after the handshake
	MTU     *MTUResult  `json:"mtu,omitempty"`      // if it was probed
	Changed *Change     `json:"changed,omitempty"`  // the latest change of the path, if it is recent

	SYNs         int          `json:"syns"`                     // sent
	Handshakes   int          `json:"handshakes"`               // completed, all of them ours to end
	Took         Milliseconds `json:"took_ms"`                  // the parallel part
	NoErrorQueue bool         `json:"no_error_queue,omitempty"` // this kernel is older than Linux 5.8: hops are those of UDP
	OnlyConnect  bool         `json:"only_connect,omitempty"`   // not Linux: no hops, only the full-TTL connection

	// Conn is the connection of the Paris pass, if it was asked for with
	// KeepConn: its path is the one that was traced. The caller closes it.
	Conn net.Conn `json:"-"`

	fixedPort uint16 // the source port of the Paris pass
	noARP     bool   // the target is on this link and has no link-layer address
	err       error  // why this host refused to send
}

// Hop returns the hop with a TTL, nil if there is none.
func (r *Result) Hop(ttl int) *Hop { return hopIn(r.Hops, ttl) }

func hopIn(hops []Hop, ttl int) *Hop {
	i := slices.IndexFunc(hops, func(h Hop) bool { return h.TTL == ttl })
	if i < 0 {
		return nil
	}
	return &hops[i]
}

// String is the result in one line: the state, and what the path says about it.
func (r *Result) String() string {
	if r.Verdict == "" {
		return string(r.State)
	}
	return string(r.State) + ": " + r.Verdict
}
