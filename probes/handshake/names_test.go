package handshake

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"
)

// Names read as they do without the cache, whichever were read before; it keeps
// neither many nor long ones.
func TestNamesOfAuthorities(t *testing.T) {
	der := func(name string) []byte {
		b, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var cache nameCache
	long := strings.Repeat("x", maxName)
	for i := range 3 * maxNames {
		for _, name := range []string{"Root", fmt.Sprintf("Root %d", i), long} {
			b := der(name)
			if got, want := cache.of(b), distinguishedName(b); got != want || !strings.HasPrefix(got, "CN="+name[:4]) {
				t.Fatalf("%q, want %q", got, want)
			}
		}
	}
	if _, kept := cache.read[string(der(long))]; len(cache.read) > maxNames || kept {
		t.Errorf("%d names are kept, the long one: %t", len(cache.read), kept)
	}
	cache.of(der("Root"))
	if _, kept := cache.read[string(der("Root"))]; !kept {
		t.Error("a name is not kept")
	}
	cache.read[string(der("Root"))] = "kept"
	if got := cache.of(der("Root")); got != "kept" {
		t.Errorf("%q was read again", got)
	}
	if got := cache.of([]byte("no DER")); got != "(unreadable)" {
		t.Errorf("%q", got)
	}
}
