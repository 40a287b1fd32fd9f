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
	"os"
	"path/filepath"
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

// sign makes a certificate and its key, and writes both.
func sign(folder, name string, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
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

// serverConfig asks for a client certificate, and never resumes a session.
func serverConfig(folder string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(folder, serverFile+".pem"), filepath.Join(folder, serverFile+".key"))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(folder, rootFile))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}, nil
}
