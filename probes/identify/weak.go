package identify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"errors"
	"fmt"
)

const algorithmsRule = "API Gateway accepts SHA-256 or stronger, RSA of 2048 bits or more, and ECDSA on P-256 or P-384 only, " +
	"in client certificates and truststores alike (API Gateway Developer Guide, rest-api-mutual-tls); openssl verify accepts others by default"

// weakness says which algorithm of a certificate API Gateway does not accept,
// or "" if all are well.
func weakness(c *x509.Certificate) string {
	switch c.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
		x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512:
	case x509.UnknownSignatureAlgorithm:
		return "it is signed with an unknown algorithm"
	default:
		return fmt.Sprintf("it is signed with %v", c.SignatureAlgorithm)
	}
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 {
			return fmt.Sprintf("its RSA key has %d bits, fewer than 2048", n)
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return fmt.Sprintf("its ECDSA key is on %s, not on P-256 or P-384", key.Curve.Params().Name)
		}
	default:
		return fmt.Sprintf("its key is %s, neither RSA nor ECDSA", keyWords(c.PublicKey))
	}
	return ""
}

// signed reports whether issuer's key made the certificate's signature. It
// also checks the algorithms that the library refuses, so that a weak
// signature is told from a wrong one.
func signed(c, issuer *x509.Certificate) bool {
	err := issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature)
	if _, insecure := errors.AsType[x509.InsecureAlgorithmError](err); !insecure {
		return err == nil
	}
	var hash crypto.Hash
	var sum []byte
	switch c.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1:
		s := sha1.Sum(c.RawTBSCertificate)
		hash, sum = crypto.SHA1, s[:]
	case x509.MD5WithRSA:
		s := md5.Sum(c.RawTBSCertificate)
		hash, sum = crypto.MD5, s[:]
	default:
		return false
	}
	switch key := issuer.PublicKey.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, hash, sum, c.Signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, sum, c.Signature)
	}
	return false
}

func selfSigned(c *x509.Certificate) bool { return selfIssued(c) && signed(c, c) }
