package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The files of the authority that signs servers and clients alike, ECDSA P-256
// throughout, each directly under the root.
const (
	rootFile   = "root.pem"
	serverFile = "server" // .pem and .key
	clientFile = "client"
)

// writeCerts makes the certificates in a folder.
func writeCerts(folder string) error {
	root, rootKey, err := sign(folder, "root", &x509.Certificate{
		Subject: pkix.Name{CommonName: "bench root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	if err != nil {
		return err
	}
	for name, usage := range map[string]x509.ExtKeyUsage{serverFile: x509.ExtKeyUsageServerAuth, clientFile: x509.ExtKeyUsageClientAuth} {
		template := &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{"*." + zone},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		}
		if _, _, err := sign(folder, name, template, root, rootKey); err != nil {
			return err
		}
	}
	return nil
}

// issue makes a certificate and its key.
func issue(c, parent *x509.Certificate, parentKey any) (der []byte, key *ecdsa.PrivateKey, err error) {
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	der, err = x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	return der, key, err
}

// sign makes a certificate and its key, and writes both.
func sign(folder, name string, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	der, key, err := issue(c, parent, parentKey)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: der},
		name + ".key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(folder, file), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, nil, err
		}
	}
	signed, err := x509.ParseCertificate(der)
	return signed, key, err
}

// byAddress gives those who name no host, as they connect to a bare address, a
// certificate for that address, and all others the usual one.
func byAddress(root tls.Certificate, usual *tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	var issued sync.Map // certificates by address
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName != "" {
			return usual, nil
		}
		addr := hello.Conn.LocalAddr().(*net.TCPAddr).IP
		if pair, ok := issued.Load(addr.String()); ok {
			return pair.(*tls.Certificate), nil
		}
		der, key, err := issue(&x509.Certificate{
			Subject: pkix.Name{CommonName: serverFile}, IPAddresses: []net.IP{addr},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, root.Leaf, root.PrivateKey)
		if err != nil {
			return nil, err
		}
		pair := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		issued.Store(addr.String(), pair)
		return pair, nil
	}
}

// serverConfig asks for a client certificate, and never resumes a session. That
// the client has the key is verified, its chain is not: the farm must not be the
// limit of what is measured.
func serverConfig(folder string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, serverFile+".pem"), filepath.Join(folder, serverFile+".key"))
	if err != nil {
		return nil, err
	}
	root, err := tls.LoadX509KeyPair(filepath.Join(folder, rootFile), filepath.Join(folder, "root.key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(root.Leaf)
	return &tls.Config{
		GetCertificate: byAddress(root, &pair), ClientCAs: roots, ClientAuth: tls.RequireAnyClientCert,
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}, nil
}
