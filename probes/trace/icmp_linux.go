package trace

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// An icmpError is one message of a socket's error queue: an ICMP error, or
// something that this host itself had to say.
type icmpError struct {
	origin uint8 // unix.SO_EE_ORIGIN_...
	typ    uint8
	code   uint8
	from   netip.Addr
	at     time.Time // when the kernel received it; zero if it does not say
	ttl    int       // left in the packet that brought it
	mss    int       // the MSS option of the SYN that it quotes; 0 if none is quoted
}

// answer is what the message means for the packet that it is about.
func (e icmpError) answer() Answer {
	switch {
	case e.origin == unix.SO_EE_ORIGIN_ICMP && e.typ == icmpTimeExceeded,
		e.origin == unix.SO_EE_ORIGIN_ICMP6 && e.typ == icmp6TimeExceeded:
		return TimeExceeded
	case e.origin == unix.SO_EE_ORIGIN_LOCAL:
		return NotSent
	}
	return Unreachable
}

const (
	icmpTimeExceeded  = 11 // RFC 792
	icmp6TimeExceeded = 3  // RFC 4443

	sizeofExtended = 16 // of struct sock_extended_err, linux/errqueue.h
)

// parseICMPError reads what recvmsg(MSG_ERRQUEUE) returned: control messages,
// and the transport header of the packet that the error is about, quoted by a
// stranger. It reports false if there is no error among the control messages.
func parseICMPError(control, quoted []byte) (icmpError, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return icmpError{}, false
	}
	e := icmpError{mss: quotedMSS(quoted)}
	found := false
	for _, m := range messages {
		switch [2]int32{m.Header.Level, m.Header.Type} {
		case [2]int32{unix.IPPROTO_IP, unix.IP_RECVERR}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_RECVERR}:
			found = e.readExtended(m.Data) || found
		case [2]int32{unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS}:
			e.at = readTimespec(m.Data)
		case [2]int32{unix.IPPROTO_IP, unix.IP_TTL}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			if len(m.Data) >= 4 {
				e.ttl = int(binary.NativeEndian.Uint32(m.Data))
			}
		}
	}
	return e, found
}

// readExtended reads a struct sock_extended_err (ip(7)) and the address of
// the sender that follows it.
func (e *icmpError) readExtended(b []byte) bool {
	if len(b) < sizeofExtended {
		return false
	}
	e.origin, e.typ, e.code = b[4], b[5], b[6]
	sender := b[sizeofExtended:]
	if len(sender) < 8 {
		return true
	}
	switch family := binary.NativeEndian.Uint16(sender); {
	case family == unix.AF_INET:
		e.from = netip.AddrFrom4([4]byte(sender[4:8]))
	case family == unix.AF_INET6 && len(sender) >= 24:
		e.from = netip.AddrFrom16([16]byte(sender[8:24])).Unmap()
	}
	return true
}

// readTimespec reads a struct timespec, of 64-bit or 32-bit systems.
func readTimespec(b []byte) time.Time {
	switch {
	case len(b) >= 16:
		return time.Unix(int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:])))
	case len(b) >= 8:
		return time.Unix(int64(binary.NativeEndian.Uint32(b)), int64(binary.NativeEndian.Uint32(b[4:])))
	}
	return time.Time{}
}

// quotedMSS finds the MSS option (RFC 9293, 3.2) in a quoted TCP header. It is
// 0 if the option is not there: a router need only quote eight bytes, which
// do not reach that far (RFC 792), but all current ones quote more.
func quotedMSS(header []byte) int {
	const fixed, end, nop, mss = 20, 0, 1, 2
	if len(header) < fixed {
		return 0
	}
	options := header[fixed:max(fixed, min(len(header), int(header[12]>>4)*4))]
	for len(options) > 0 && options[0] != end {
		if options[0] == nop {
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return 0
		}
		if options[0] == mss && options[1] == 4 {
			return int(binary.BigEndian.Uint16(options[2:]))
		}
		options = options[options[1]:]
	}
	return 0
}
