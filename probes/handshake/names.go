package handshake

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"sync"

	"vpcprobe/probes"
)

// A nameCache remembers how distinguished names read: servers list those of the
// same authorities each time, and to read one and to scrub it takes 30 µs.
type nameCache struct {
	mu   sync.Mutex
	read map[string]string // by their DER
}

// maxNames bounds the cache, maxName the bytes of a name in it.
const (
	maxNames = 256
	maxName  = 1024
)

func (nc *nameCache) of(der []byte) string {
	nc.mu.Lock()
	defer nc.mu.Unlock()
	name, ok := nc.read[string(der)]
	if ok {
		return name
	}
	name = distinguishedName(der)
	if len(der) > maxName {
		return name
	}
	if nc.read == nil || len(nc.read) == maxNames {
		nc.read = map[string]string{}
	}
	nc.read[string(der)] = name
	return name
}

func distinguishedName(der []byte) string {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return "(unreadable)"
	}
	return probes.Scrub(rdns.String(), 256)
}
