package resolve

import (
	"io"
	"net/netip"
	"slices"
	"strings"
)

// hosts is what a hosts file says of the names that matter.
type hosts struct {
	path  string
	addrs map[string][]netip.Addr
}

// An entry is what the hosts file says of one name.
type entry struct {
	path  string
	addrs []netip.Addr // empty if it says nothing
}

func (h hosts) of(name string) entry { return entry{h.path, h.addrs[plain(name)]} }

// parseHosts reads hosts(5): an address and its names on each line, comments
// anywhere. Lines whose first word is no address it passes over, as libc does.
// It keeps only the names wanted, for some hosts files are block lists of a
// hundred thousand others.
func parseHosts(r io.Reader, wanted ...string) map[string][]netip.Addr {
	all := map[string][]netip.Addr{}
	for _, name := range wanted {
		all[plain(name)] = nil
	}
	for line := range lines(r) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			known, ok := all[plain(name)]
			if ok && !slices.Contains(known, addr.Unmap()) {
				all[plain(name)] = append(known, addr.Unmap())
			}
		}
	}
	return all
}

// plain is the form in which names are compared.
func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
