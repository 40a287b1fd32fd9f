package lab

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
)

// files reads the client's files.
func (l *Lab) files(t *testing.T) (certificate, key, truststore []byte) {
	t.Helper()
	var read [3][]byte
	for i, name := range []string{certificateFile, keyFile, truststoreFile} {
		b, err := os.ReadFile(l.file(name))
		if err != nil {
			t.Fatal(err)
		}
		read[i] = b
	}
	return read[0], read[1], read[2]
}

// parse returns the certificates of a bundle and how many blocks are none.
func parse(bundle []byte) (certs []*x509.Certificate, broken int) {
	for {
		var b *pem.Block
		b, bundle = pem.Decode(bundle)
		if b == nil {
			return certs, broken
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			broken++
			continue
		}
		certs = append(certs, c)
	}
}

// Each fault of the client's files makes the files wrong in the intended way,
// and API Gateway does what its rules say: it answers what the server side
// makes of the certificate, and logs why.
func TestClientFaults(t *testing.T) {
	t.Parallel()
	l := start(t)
	const noIssuer, insecure, selfSigned = "Could not find issuer for certificate", "insecure Signature Algorithm", "self signed certificate"
	for _, tt := range []struct {
		name   string
		fault  Fault
		status int
		reason string
		bundle int // certificates in the truststore
	}{
		{"healthy", func(*Lab) {}, 200, "", 2},
		{"ClientExpired", ClientExpired, 403, noIssuer, 2},
		{"ClientExpiring", ClientExpiring, 200, "", 2},
		{"ClientSHA1", ClientSHA1, 403, insecure, 2},
		{"ClientRSA1024", ClientRSA1024, 403, insecure, 2},
		{"ClientSelfSigned", ClientSelfSigned, 403, selfSigned, 2},
		{"ClientAltered", ClientAltered, 403, selfSigned, 1},
		{"ClientUntrusted", ClientUntrusted, 403, noIssuer, 2},
		{"TruststoreIncomplete", TruststoreIncomplete, 403, noIssuer, 1},
		{"TruststoreChainTooLong", TruststoreChainTooLong, 403, noIssuer, 5},
		{"TruststoreConflict", TruststoreConflict, 200, "", 4},
		{"TruststoreWeak", TruststoreWeak, 403, noIssuer, 2},
		{"TruststoreWeakElsewhere", TruststoreWeakElsewhere, 200, "", 3},
		{"ClientForServers", ClientForServers, 200, "", 2},
		{"ExpiryIgnored", Faults(ClientExpired, ExpiryIgnored), 200, "", 2},
		{"TruststoreScrambled", TruststoreScrambled, 200, "", 0},
		{"TruststoreLarge", TruststoreLarge, 200, "", 1002},
		{"TruststoreBroken", TruststoreBroken, 200, "", 2},
	} {
		l.Break(tt.fault)
		got, err := l.get(t, partnersENI(), PartnersDomain, "/status", l.presenting(t))
		if err != nil || got.status != tt.status {
			t.Errorf("%s: %+v, %v; want %d", tt.name, got, err, tt.status)
		}
		requests := l.Requests()
		if last := requests[len(requests)-1]; !strings.Contains(last.Reason, tt.reason) || tt.reason == "" && last.Reason != "" {
			t.Errorf("%s: the log says %q, want %q", tt.name, last.Reason, tt.reason)
		}
		_, _, truststore := l.files(t)
		certs, broken := parse(truststore)
		if wantBroken := map[bool]int{true: 1}[tt.name == "TruststoreBroken"]; len(certs) != tt.bundle || broken != wantBroken {
			t.Errorf("%s: %d certificates and %d broken blocks in the truststore", tt.name, len(certs), broken)
		}
		l.Heal()
	}
}

func TestClientKeyMismatch(t *testing.T) {
	t.Parallel()
	certificate, key, _ := start(t, ClientKeyMismatch).files(t)
	if _, err := tls.X509KeyPair(certificate, key); err == nil || !strings.Contains(err.Error(), "does not match") {
		t.Errorf("%v, want a mismatch", err)
	}
}

// The twin of a certificate in the truststore has its name and key, but not
// its bytes.
func TestClientAltered(t *testing.T) {
	t.Parallel()
	certificate, _, truststore := start(t, ClientAltered).files(t)
	leaf, _ := parse(certificate)
	trusted, _ := parse(truststore)
	if leaf[0].Equal(trusted[0]) || leaf[0].Subject.String() != trusted[0].Subject.String() || leaf[0].CheckSignature(leaf[0].SignatureAlgorithm, leaf[0].RawTBSCertificate, leaf[0].Signature) != nil {
		t.Errorf("%v in the client's file, %v in the truststore", leaf[0].Subject, trusted[0].Subject)
	}
}

func TestTruststoreConflict(t *testing.T) {
	t.Parallel()
	_, _, truststore := start(t, TruststoreConflict).files(t)
	issuers := map[string]map[string]bool{}
	certs, _ := parse(truststore)
	for _, c := range certs {
		if issuers[c.Subject.String()] == nil {
			issuers[c.Subject.String()] = map[string]bool{}
		}
		issuers[c.Subject.String()][c.Issuer.String()] = true
	}
	conflicts := 0
	for _, of := range issuers {
		conflicts += len(of) - 1
	}
	if conflicts != 1 {
		t.Errorf("%d subjects have two issuers, want one: %v", conflicts, issuers)
	}
}

// A healed lab has its good files back.
func TestClientFilesHeal(t *testing.T) {
	t.Parallel()
	l := start(t)
	before, _, _ := l.files(t)
	l.Break(ClientExpired)
	if during, _, _ := l.files(t); string(during) == string(before) {
		t.Error("the fault did not change the certificate")
	}
	l.Heal()
	if after, _, _ := l.files(t); string(after) != string(before) {
		t.Error("the certificate is another after healing")
	}
}
