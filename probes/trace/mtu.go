package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Passage says whether full segments get through in one direction.
type Passage string

// The passages.
const (
	Passes   Passage = "passes"
	Vanishes Passage = "vanishes" // lost again and again, while smaller ones of the same flight arrive
	Unknown  Passage = "unknown"
)

// A Direction is one way of a connection.
type Direction string

// The directions.
const (
	ToServer   Direction = "to-server"
	FromServer Direction = "from-server"
)

// An MTUTry is one TLS handshake over a connection whose segments are limited,
// both ways, to MSS bytes.
type MTUTry struct {
	MSS        int          `json:"mss"`             // asked for
	Effective  int          `json:"effective"`       // what the two sides and the kernel made of it
	ToServer   Passage      `json:"to_server"`       //
	FromServer Passage      `json:"from_server"`     //
	PathMTU    int          `json:"path_mtu"`        // what the kernel believed in the end, in bytes
	Took       Milliseconds `json:"took_ms"`         //
	Evidence   string       `json:"evidence"`        // the kernel's counters
	Error      string       `json:"error,omitempty"` // of the connection or the handshake
}

// passed is the largest MSS that the try proves to get through both ways; 0 if
// none.
func (t MTUTry) passed() int {
	if t.ToServer != Passes || t.FromServer != Passes {
		return 0
	}
	if t.Effective < t.MSS-timestamps { // limited by the peer, or by a path MTU that was learned
		return t.Effective + timestamps
	}
	return t.MSS
}

func (t MTUTry) failed() bool { return t.ToServer == Vanishes || t.FromServer == Vanishes }

// timestamps is what the TCP timestamp option takes of a segment, in bytes.
const timestamps = 12

// An MTUResult says how large packets may be on the path to an address, and
// whether larger ones vanish without a word: an MTU black hole. Sizes are those
// of IP packets, in bytes.
type MTUResult struct {
	Target     netip.AddrPort `json:"target"`
	Verdict    string         `json:"verdict"`
	BlackHole  bool           `json:"black_hole"`
	Directions []Direction    `json:"directions,omitempty"` // in which large packets vanish
	Passing    int            `json:"passing,omitempty"`    // the largest size seen to pass both ways
	Vanishing  int            `json:"vanishing,omitempty"`  // the smallest size seen to vanish
	DeviceMTU  int            `json:"device_mtu,omitempty"` // of the interface
	PathMTU    int            `json:"path_mtu,omitempty"`   // if routers told of a smaller one, as they should
	Tries      []MTUTry       `json:"tries"`                // largest first
	Took       Milliseconds   `json:"took_ms"`
}

// String is the result in one line.
func (r *MTUResult) String() string { return r.Verdict }

// overhead is what the IP and TCP headers add to a segment.
func overhead(addr netip.Addr) int {
	if addr.Is4() {
		return 40
	}
	return 60
}

// sizes are the segment sizes of the first round: what the device allows, the
// usual jumbo, Ethernet, tunnel and VPN sizes, and what every path carries.
func sizes(device int) []int {
	list := []int{device}
	for _, mss := range []int{8460, 1460, 1420, 1380, 1340, 1280, 1200, 536} {
		if mss < list[len(list)-1] {
			list = append(list, mss)
		}
	}
	return list
}

// between are the segment sizes of the second round.
func between(passing, vanishing int) []int {
	var list []int
	step := max((vanishing-passing)/9, 1)
	for mss := passing + step; mss < vanishing; mss += step {
		list = append(list, mss)
	}
	return list
}

// tried reports whether a segment size was tried already.
func (r *MTUResult) tried(mss int) bool {
	return slices.ContainsFunc(r.Tries, func(t MTUTry) bool { return t.MSS == mss })
}

// failed lists the segment sizes that vanished.
func (r *MTUResult) failed() []int {
	var list []int
	for _, t := range r.Tries {
		if t.failed() {
			list = append(list, t.MSS)
		}
	}
	return list
}

// enough is how many tries must fail in one direction before it is called a
// black hole. With 20 % loss each way it takes that many to keep false alarms
// below one in a hundred sweeps.
const enough = 4

// judge concludes from the tries so far, of which so many must fail. A black
// hole is a matter of size alone: nothing of the size that fails, or larger,
// gets through. Everything else is loss.
func (r *MTUResult) judge(enough int) {
	extra := overhead(r.Target.Addr())
	passing, vanishing, loss := 0, 0, false
	for _, t := range r.Tries {
		passing = max(passing, t.passed())
		if t.PathMTU > 0 && t.PathMTU < r.DeviceMTU && (r.PathMTU == 0 || t.PathMTU < r.PathMTU) {
			r.PathMTU = t.PathMTU
		}
	}
	failed := map[Direction]int{}
	for _, t := range r.Tries {
		switch {
		case !t.failed():
			continue
		case t.MSS <= passing:
			loss = true
			continue
		case vanishing == 0 || t.MSS < vanishing:
			vanishing = t.MSS
		}
		failed[t.direction()]++
	}
	r.BlackHole, r.Directions = false, nil
	for _, d := range []Direction{ToServer, FromServer} {
		if failed[d] >= enough && !loss && passing > 0 {
			r.BlackHole, r.Directions = true, append(r.Directions, d)
		}
	}
	r.Passing, r.Vanishing = 0, 0
	if passing > 0 {
		r.Passing = passing + extra
	}
	if r.BlackHole {
		r.Vanishing = vanishing + extra
	}
	r.Verdict = r.verdict(loss || len(failed) > 0)
}

// direction is the one in which a try failed. Where segments to the server
// vanish nothing is known of those from it.
func (t MTUTry) direction() Direction {
	if t.ToServer == Vanishes {
		return ToServer
	}
	return FromServer
}

func (r *MTUResult) verdict(loss bool) string {
	switch {
	case r.BlackHole:
		return fmt.Sprintf("MTU black hole (%s): packets of up to %d bytes pass, those of %d vanish without an ICMP message (the device's MTU is %d)",
			r.directions(), r.Passing, r.Vanishing, r.DeviceMTU)
	case loss && r.Passing > 0:
		return fmt.Sprintf("segments are lost, but not because of their size: packets of %d bytes pass", r.Passing)
	case r.PathMTU > 0:
		return fmt.Sprintf("the path's MTU is %d, below the device's %d, and routers say so: path MTU discovery works", r.PathMTU, r.DeviceMTU)
	case r.Passing > 0:
		return fmt.Sprintf("packets of %d bytes pass both ways (the device's MTU is %d)", r.Passing, r.DeviceMTU)
	}
	return "no TLS handshake came about with any segment size"
}

func (r *MTUResult) directions() string {
	words := map[Direction]string{ToServer: "to the server", FromServer: "from the server"}
	var list []string
	for _, d := range r.Directions {
		list = append(list, words[d])
	}
	return strings.Join(list, " and ")
}

// Segments is what the kernel knows about the segments of one connection
// (TCP_INFO). It costs nothing to read, so every TLS handshake that takes too
// long can be asked whether large segments are what is missing.
type Segments struct {
	MSS         int          `json:"mss"`          // largest segment sent
	PathMTU     int          `json:"path_mtu"`     // what the kernel believes
	RTT         Milliseconds `json:"rtt_ms"`       // as the kernel has smoothed it
	Acked       int          `json:"acked"`        // bytes of ours that arrived in order
	Sacked      int          `json:"sacked"`       // segments of ours that arrived behind a gap
	Retransmits int          `json:"retransmits"`  // of ours
	Received    int          `json:"received"`     // bytes that arrived in order
	OutOfOrder  int          `json:"out_of_order"` // segments that arrived behind a gap
}

// Missing says in which direction the first segment, a full one, keeps being
// lost although a smaller one behind it arrived; false if in none. Plain loss
// looks the same for the moment of one retransmission, so a single look proves
// nothing, but a handshake that timed out like this has a black hole on its way.
func (s Segments) Missing() (Direction, bool) {
	switch {
	case s.Acked == 0 && s.Sacked > 0 && s.Retransmits > 0:
		return ToServer, true
	case s.Acked > 0 && s.Received == 0 && s.OutOfOrder > 0:
		return FromServer, true
	}
	return "", false
}

func (s Segments) String() string {
	return fmt.Sprintf("mss %d, path mtu %d; ours: %d bytes acknowledged, %d segments behind a gap, %d sent again; theirs: %d bytes received, %d segments behind a gap",
		s.MSS, s.PathMTU, s.Acked, s.Sacked, s.Retransmits, s.Received, s.OutOfOrder)
}
