package handshake

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"vpcprobe/probes"
	"vpcprobe/probes/identify"
)

// A judgement is what we think of a server's chain.
type judgement struct {
	outcome     probes.Outcome // ok, untrusted, wrong_name, expired; or fault, if there is nothing to judge by
	err         error
	flaws       []string
	chain       []identify.Certificate
	nameMatches bool
	notAfter    time.Time
}

// maxChain bounds how many certificates of a chain are described.
const maxChain = 10

var errNoRoots = errors.New("this machine has no root certificates, so no server can be verified: install ca-certificates, or set trust.ca_file")

// trust is what a chain is worth whatever name it is presented for.
type trust struct {
	outcome  probes.Outcome // ok, or why the authority is not trusted
	err      error          // why, unless the outcome is ok
	late     error          // that it is not valid now, if it would be trusted otherwise
	chain    []identify.Certificate
	notAfter time.Time
}

// examine verifies a chain, which is not empty, against roots (nil: the
// system's) at a time.
func examine(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) trust {
	t := trust{outcome: probes.OK, chain: describe(chain), notAfter: chain[0].NotAfter}
	verified, err := verify(chain, roots, now)
	if isExpired(err) {
		t.late, verified, err = err, nil, verifyUndated(chain, roots)
	}
	if isUnknown(err) && roots == nil && noSystemRoots() {
		t.outcome, t.err = probes.Fault, errNoRoots
	} else if err != nil {
		t.outcome, t.err = probes.Untrusted, err
	}
	if len(verified) > 0 {
		t.notAfter = expiry(verified)
	}
	return t
}

// good reports whether nothing is wrong with the chain.
func (t trust) good() bool { return t.outcome == probes.OK && t.late == nil }

// judge judges a chain that is presented for a name. All flaws are looked for;
// the outcome is the gravest: a certificate of an unknown authority may say
// anything, so its name does not matter, and a server that is not the one meant
// may let its certificate expire.
func (t trust) judge(leaf *x509.Certificate, serverName string) judgement {
	j := judgement{outcome: probes.OK, chain: t.chain, notAfter: t.notAfter}
	fail := func(o probes.Outcome, err error) {
		j.flaws = append(j.flaws, probes.Scrub(err.Error(), 300))
		if j.outcome == probes.OK {
			j.outcome, j.err = o, errors.New(j.flaws[len(j.flaws)-1])
		}
	}
	if t.outcome != probes.OK {
		fail(t.outcome, t.err)
	}
	if err := leaf.VerifyHostname(serverName); err != nil {
		fail(probes.WrongName, err)
	} else {
		j.nameMatches = true
	}
	if t.late != nil {
		fail(probes.Expired, t.late)
	}
	return j
}

func describe(chain []*x509.Certificate) []identify.Certificate {
	described := make([]identify.Certificate, min(len(chain), maxChain))
	for i := range described {
		described[i] = identify.Describe(chain[i])
	}
	return described
}

func verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) ([][]*x509.Certificate, error) {
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	return chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now})
}

// verifyUndated asks whether the chain would be trusted at a time when all of
// it is valid. Where there is no such time, the answer is unknown, and that is
// no reason to distrust the authority.
func verifyUndated(chain []*x509.Certificate, roots *x509.CertPool) error {
	var err error
	for _, c := range chain {
		for _, at := range []time.Time{c.NotAfter, c.NotBefore} {
			if _, err = verify(chain, roots, at); !isExpired(err) {
				return err
			}
		}
	}
	return nil
}

func isExpired(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

func isUnknown(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, noRoots := errors.AsType[x509.SystemRootsError](err)
	return unknown || noRoots
}

// noSystemRoots reports whether the system has no root certificates at all, as
// in an image without a bundle.
func noSystemRoots() bool {
	pool, err := x509.SystemCertPool()
	return err != nil || pool.Equal(x509.NewCertPool())
}

// expiry is when the last of the verified chains breaks: a cross-signed root
// that the server sends along may expire without doing harm.
func expiry(chains [][]*x509.Certificate) time.Time {
	var last time.Time
	for _, chain := range chains {
		first := chain[0].NotAfter
		for _, c := range chain[1:] {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if first.After(last) {
			last = first
		}
	}
	return last
}

// A chainCache remembers chains that were found good, since a server sends the
// same one each time, and the servers of one endpoint for every name of it:
// verifying costs as much as the rest of the handshake's signatures together
// (50 µs of 370 with ECDSA, measured). The server still proves each time that
// it has the key, and the name is compared each time.
type chainCache struct {
	mu   sync.Mutex
	good map[chainKey]chainEntry
}

type chainKey struct {
	sum   [sha256.Size]byte
	roots *x509.CertPool
}

type chainEntry struct {
	trust
	since, until time.Time
}

// The bounds of the cache.
const (
	maxGood  = 1024
	keepGood = 5 * time.Minute
)

func (cc *chainCache) examine(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) trust {
	now = now.Round(0) // certificates go by the wall clock, which may be set
	key := chainKey{sumOf(chain), roots}
	cc.mu.Lock()
	e, ok := cc.good[key]
	cc.mu.Unlock()
	if ok && !now.Before(e.since) && now.Before(e.until) {
		return e.trust
	}
	t := examine(chain, roots, now)
	if t.good() {
		cc.keep(key, chainEntry{t, now, earlier(now.Add(keepGood), t.notAfter)}, now)
	}
	return t
}

func (cc *chainCache) keep(key chainKey, e chainEntry, now time.Time) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if cc.good == nil {
		cc.good = map[chainKey]chainEntry{}
	}
	if len(cc.good) >= maxGood {
		for k, old := range cc.good {
			if !now.Before(old.until) {
				delete(cc.good, k)
			}
		}
	}
	for k := range cc.good {
		if len(cc.good) < maxGood {
			break
		}
		delete(cc.good, k)
	}
	cc.good[key] = e
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func sumOf(chain []*x509.Certificate) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range chain {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(c.Raw))))
		h.Write(c.Raw)
	}
	h.Sum(sum[:0])
	return sum
}

// rootsOf returns the pool of the system's roots and those of a PEM file.
func rootsOf(path string, text []byte) (*x509.CertPool, error) {
	certs, err := identify.ParseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool, nil
}
