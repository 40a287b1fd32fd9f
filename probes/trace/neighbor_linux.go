package trace

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// unresolved reports whether the kernel has asked this link for the
// address's link-layer address (ARP, neighbor discovery) without an answer so
// far. It would give up and say host unreachable only after three seconds, but
// its table, which anybody may read, says so at once.
func unresolved(addr netip.Addr) bool {
	table, err := syscall.NetlinkRIB(unix.RTM_GETNEIGH, unix.AF_UNSPEC)
	if err != nil {
		return false
	}
	messages, err := syscall.ParseNetlinkMessage(table)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Type == unix.RTM_NEWNEIGH && neighborOf(m.Data) == addr.WithZone("") {
			return neighborState(m.Data)&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) != 0
		}
	}
	return false
}

// neighborState reads the ndm_state of a struct ndmsg (rtnetlink(7)).
func neighborState(b []byte) uint16 {
	if len(b) < unix.SizeofNdMsg {
		return 0
	}
	return binary.NativeEndian.Uint16(b[8:])
}

// neighborOf reads the attribute NDA_DST that follows a struct ndmsg.
func neighborOf(b []byte) netip.Addr {
	for b = b[min(len(b), unix.SizeofNdMsg):]; len(b) >= unix.SizeofRtAttr; {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:]) == unix.NDA_DST {
			addr, _ := netip.AddrFromSlice(b[unix.SizeofRtAttr:n])
			return addr
		}
		b = b[min(len(b), (n+3)&^3):]
	}
	return netip.Addr{}
}
