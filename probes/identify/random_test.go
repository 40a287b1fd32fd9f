package identify

import (
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"vpcprobe/probes/identify/certtest"
)

// randomPKI makes a hierarchy with up to six authorities in which anything may
// be wrong, and returns it with a list of what is.
func randomPKI(t testing.TB, rnd *rand.Rand) (situation, []string) {
	var wrong []string
	odds := func(p float64, what string) bool {
		hit := rnd.Float64() < p
		if hit {
			wrong = append(wrong, what)
		}
		return hit
	}
	now, day := time.Now(), 24*time.Hour
	age := func(who string) certtest.Option {
		switch {
		case odds(0.04, who+" expired"):
			return certtest.Valid(now.Add(-90*day), now.Add(-day))
		case odds(0.03, who+" not yet valid"):
			return certtest.Valid(now.Add(day), now.Add(90*day))
		}
		return certtest.With(func(*x509.Certificate) {})
	}
	rsa := rnd.IntN(4) == 0
	options := func(who string, ca bool) []certtest.Option {
		o := []certtest.Option{age(who)}
		switch {
		case rsa && ca:
			o = append(o, certtest.Key(certtest.RSA(t, 2048)))
		case odds(0.03, who+" on P-521"):
			o = append(o, certtest.Key(certtest.EC(t, elliptic.P521())))
		}
		if rsa && odds(0.04, who+" signed with SHA-1") {
			o = append(o, certtest.SHA1())
		}
		return o
	}
	chain := []*certtest.Pair{certtest.Root(t, "Root", options("root", true)...)}
	for i := range rnd.IntN(6) {
		who := fmt.Sprintf("CA %d", i)
		o := append(options(who, true), certtest.With(func(c *x509.Certificate) {
			if odds(0.04, who+" is none") {
				return
			}
			c.IsCA, c.ExtKeyUsage, c.KeyUsage = true, nil, x509.KeyUsageCertSign
			if odds(0.04, who+" may not sign") {
				c.KeyUsage = x509.KeyUsageCRLSign
			}
			if c.IsCA && odds(0.05, who+" has path length 0") {
				c.MaxPathLenZero = true
			}
		}))
		chain = append(chain, chain[len(chain)-1].Issue(t, who, o...))
	}
	last := chain[len(chain)-1]
	var leaf *certtest.Pair
	if odds(0.1, "leaf self-signed") {
		rsa = false
		leaf = certtest.SelfSigned(t, "leaf", options("leaf", false)...)
	} else {
		leaf = last.Issue(t, "leaf", options("leaf", false)...)
	}
	return pack(t, rnd, odds, leaf, chain), wrong
}

// pack puts a hierarchy into files, where things may get lost.
func pack(t testing.TB, rnd *rand.Rand, odds func(float64, string) bool, leaf *certtest.Pair, chain []*certtest.Pair) situation {
	s := situation{client: leaf.PEM()}
	var bundle, sent []*certtest.Pair
	for i, c := range chain {
		if !odds(0.06, fmt.Sprintf("authority %d left out", i)) {
			bundle = append(bundle, c)
		}
		sent = append(sent, c)
	}
	if odds(0.1, "leaf in the bundle") {
		bundle = append(bundle, leaf)
	}
	if odds(0.1, "a namesake of the root") {
		bundle = append(bundle, certtest.Root(t, "Root"))
	}
	if odds(0.1, "an authority cross-signed") {
		c := chain[rnd.IntN(len(chain))]
		other := certtest.Root(t, "Other")
		bundle = append(bundle, other.Issue(t, c.Subject.CommonName, certtest.CA(), certtest.Key(c.Key)))
		if odds(0.5, "with its root") {
			bundle = append(bundle, other)
		}
	}
	if len(bundle) == 0 {
		bundle = append(bundle, certtest.Root(t, "Unrelated"))
	}
	rnd.Shuffle(len(bundle), func(i, j int) { bundle[i], bundle[j] = bundle[j], bundle[i] })
	s.bundle = certtest.Bundle(bundle...)
	if odds(0.3, "chain sent by the client") {
		s.chain = certtest.Bundle(sent...)
	}
	return s
}

// Whatever is combined, we never accept what openssl verify refuses, and where
// it is the other way round, the report names API Gateway's rule.
func TestRandomHierarchiesAgainstOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl on this machine: the differential test needs it")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	accepted := 0
	for range rounds {
		s, wrong := randomPKI(t, rnd)
		f := s.write(t)
		r, err := Judge(f, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"verify", "-no-CApath", "-no-CAstore", "-CAfile", f.Truststore}
		if f.Chain != "" {
			args = append(args, "-untrusted", f.Chain)
		}
		out, failed := exec.Command(openssl, append(args, f.Certificate)...).CombinedOutput()
		ruled := slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Refuses && p.Rule != "" })
		if r.Accepted {
			accepted++
		}
		switch {
		case r.Accepted && failed != nil:
			t.Errorf("accepted, but openssl refuses: %s\nwrong: %s\npath: %q", out, strings.Join(wrong, ", "), r.Path)
		case !r.Accepted && failed == nil && !ruled:
			t.Errorf("openssl accepts, and no rule says why we do not: %s\nwrong: %s", r, strings.Join(wrong, ", "))
		}
	}
	if accepted == 0 || accepted == rounds {
		t.Errorf("%d of %d accepted: the test cannot tell", accepted, rounds)
	}
}
