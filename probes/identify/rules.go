package identify

import "vpcprobe/probes"

// Rules are the root causes found in the files.
var Rules = []*probes.Rule{
	clientUnreadable, keyMismatch, clientWeak, clientSelfSigned, clientAltered, clientUntrusted,
	chainIncomplete, chainTooLong, bundleInvalid, bundleConflict, bundleWeak, bundleTooLarge,
	clientExpired, clientOutdated, clientExpiring, noClientAuth, bundleUnreadable, bundleWarnings,
}

// The documents that the rules rest on.
const (
	guide   = "API Gateway Developer Guide, rest-api-mutual-tls"
	article = "AWS re:Post Knowledge Center, api-gateway-mutual-tls-403-errors"
)

// upload is how a corrected truststore comes into force.
const upload = "Upload the corrected bundle and make the domain read it: `aws s3 cp bundle.pem s3://BUCKET/KEY`, then " +
	"`aws apigateway update-domain-name --domain-name NAME --patch-operations op=replace,path=/mutualTlsAuthentication/truststoreVersion,value=VERSION`. "

// check is how to see the same by hand.
const check = "Check with `vpcprobe cert --certificate client.pem --key client.key --truststore bundle.pem`."

// found completes a rule: it matches where the report names it.
func found(r probes.Rule) *probes.Rule { return renamed(r.ID, r) }

// renamed completes a rule that the report knows by another id.
func renamed(id string, r probes.Rule) *probes.Rule {
	r.Match = func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		sure := probes.No
		because := probes.Filter(seen.Of(name), func(o probes.Observation) bool { return problems(o, id) != nil })
		for _, o := range because {
			for _, p := range problems(o, id) {
				sure = max(sure, p.sure)
			}
		}
		return sure, because
	}
	r.Notes = func(_ probes.Evidence, because []probes.Observation) []string {
		var notes []string
		for _, o := range because {
			for _, p := range problems(o, id) {
				notes = append(notes, p.Text)
				if p.Rule != "" {
					notes = append(notes, "beyond openssl verify: "+p.Rule)
				}
			}
			if reason := Of(o).Reason; reason != "" && Of(o).Problems[0].Finding == id {
				notes = append(notes, "API Gateway logs: "+reason)
			}
		}
		return notes
	}
	return &r
}

// problems returns what an observation's report says under a finding's id.
func problems(o probes.Observation, id string) []Problem {
	r := Of(o)
	if r == nil {
		return nil
	}
	var of []Problem
	for _, p := range r.Problems {
		if p.Finding == id {
			of = append(of, p)
		}
	}
	return of
}

var clientUnreadable = found(probes.Rule{
	ID:    "client-cert-unreadable",
	Title: "The client certificate or its key cannot be read",
	Means: "The agent cannot load the files that the target names, so it has no identity to show, and neither has whoever else uses them. " +
		"The file is missing, not readable for this user, not PEM, or its key is encrypted.",
	Fix: "Look at the file named in the notes: `ls -l FILE`, `openssl x509 -in client.pem -noout -subject`, `openssl pkey -in client.key -noout`. " +
		"Decrypt a key with `openssl pkey -in client.key -out plain.key` and keep it readable for the agent only.",
	Source: article,
})

var keyMismatch = found(probes.Rule{
	ID:    "client-cert-key-mismatch",
	Title: "The private key does not belong to the client certificate",
	Means: "A client proves with the private key that the certificate is its own. With another key no TLS library even starts, " +
		"or the server breaks off the handshake. One of the two files was renewed without the other, or the certificate's file does not begin with the client's own.",
	Fix: "Compare: `openssl x509 -in client.pem -noout -pubkey | openssl sha256` and `openssl pkey -in client.key -pubout | openssl sha256` must agree. " +
		"Install certificate and key of the same issue, the client's own certificate first, intermediates after it.",
	Source: article + " (comparing the moduli)",
})

var clientWeak = found(probes.Rule{
	ID:    "client-cert-weak",
	Title: "The client certificate uses an algorithm that API Gateway does not accept",
	Means: "API Gateway accepts signatures with SHA-256 or stronger, RSA keys of 2048 bits or more, and ECDSA keys on P-256 or P-384. " +
		"It answers other client certificates with 403 Forbidden.",
	Fix: "Issue a new certificate: `openssl req -new -newkey rsa:2048 -nodes -keyout client.key -out client.csr`, signed with `openssl x509 -req -sha256 ...`. " +
		"See the present one's with `openssl x509 -in client.pem -noout -text | grep -E 'Signature Algorithm|Public-Key'`.",
	Source: article + "; " + guide,
})

var clientSelfSigned = found(probes.Rule{
	ID:    "client-cert-self-signed",
	Title: "The client certificate is self-signed, and the truststore holds no copy of it",
	Means: "A self-signed certificate is accepted only if the truststore holds an exact copy. API Gateway answers 403 Forbidden.",
	Fix: "Have a certificate authority of the truststore issue the client certificate, or add this one: `cat client.pem >> bundle.pem`. " +
		upload + check,
	Source: article,
})

var clientAltered = found(probes.Rule{
	ID:    "client-cert-altered",
	Title: "The self-signed client certificate differs from the copy in the truststore",
	Means: "The truststore holds a certificate of that subject or key, but not exactly this one: it was issued anew, or one of the two files was altered or damaged. " +
		"API Gateway accepts exact copies only and answers 403 Forbidden.",
	Fix: "Compare: `openssl x509 -in client.pem -noout -fingerprint -sha256` with the bundle's, and `diff client.pem bundle.pem`. " +
		"Put the certificate in use into the bundle. " + upload + check,
	Source: article,
})

var clientUntrusted = found(probes.Rule{
	ID:    "client-cert-untrusted",
	Title: "No authority in the truststore issued the client certificate",
	Means: "API Gateway looks for the issuer of the client certificate in the domain's truststore. It is not there, or may not issue this certificate, " +
		"so API Gateway completes the handshake and answers 403 Forbidden.",
	Fix: "Add the issuer and everything above it up to the root to the bundle, or use a certificate of an authority that is there: " +
		"`openssl verify -CAfile bundle.pem client.pem` must say OK. " + upload + check,
	Source: article,
})

var chainIncomplete = found(probes.Rule{
	ID:    "truststore-chain-incomplete",
	Title: "The truststore does not hold the whole chain of the client certificate",
	Means: "The truststore must hold every authority from the client certificate's issuer up to the root. What the client sends along does not fill the gap, " +
		"so openssl verify -untrusted may say OK where API Gateway answers 403 Forbidden.",
	Fix:    "Add the missing authorities to the bundle, intermediates and root: `cat intermediate.pem root.pem >> bundle.pem`. " + upload + check,
	Source: guide + "; " + article,
})

var chainTooLong = found(probes.Rule{
	ID:     "truststore-chain-too-long",
	Title:  "The client certificate's chain has more than four authorities",
	Means:  "API Gateway accepts chains of at most four certificates from the client certificate's issuer up to the root, and answers 403 Forbidden to longer ones.",
	Fix:    "Have the client certificate issued by an authority nearer to the root, or shorten the hierarchy. " + check,
	Source: guide + ` ("Certificates can have a maximum chain length of four"); that the client's own is not counted was measured by others`,
})

var bundleInvalid = found(probes.Rule{
	ID:    "truststore-invalid-cert",
	Title: "The truststore holds a certificate that is not valid",
	Means: "A block of the bundle cannot be read or is no certificate, or an authority in the client's chain has expired or may not issue certificates. " +
		`The console then says "There is an invalid certificate in your truststore bundle", and some or all clients get 403 Forbidden. ` +
		"API Gateway looks at the bundle only when the domain is created or updated: a certificate that expires later draws no warning.",
	Fix: "Remove or renew the certificate named in the notes; see each with `openssl crl2pkcs7 -nocrl -certfile bundle.pem | openssl pkcs7 -print_certs -noout`. " +
		"See API Gateway's own warnings: `aws apigateway get-domain-name --domain-name NAME --query mutualTlsAuthentication.truststoreWarnings`. " + upload + check,
	Source: article + "; " + guide,
})

var bundleConflict = found(probes.Rule{
	ID:    "truststore-subject-conflict",
	Title: "Two certificates in the truststore have the same subject but different issuers",
	Means: `API Gateway takes one issuer per subject and refuses such a bundle: "The certificate subject <subject> conflicts with an existing certificate from a different issuer." ` +
		"Cross-signed authorities are the usual reason. The domain keeps the truststore that it had, so newer clients may be missing from it.",
	Fix:    "Keep one of the two, the one whose chain up to the root is in the bundle. " + upload + check,
	Source: guide,
})

var bundleWeak = found(probes.Rule{
	ID:    "truststore-weak-cert",
	Title: "An authority in the client's chain uses an algorithm that API Gateway does not accept",
	Means: "The rules for algorithms hold for the authorities in the truststore, too: SHA-256 or stronger, RSA of 2048 bits or more, ECDSA on P-256 or P-384. " +
		"openssl verify accepts others by default.",
	Fix:    "Replace the authority's certificate in the bundle by one signed with SHA-256 and a sufficient key, and issue the client's certificates from it. " + upload + check,
	Source: article + "; " + guide,
})

var bundleTooLarge = found(probes.Rule{
	ID:     "truststore-too-large",
	Title:  "The truststore has more than 1,000 certificates or 1 MB",
	Means:  "API Gateway does not take a truststore beyond these limits: the domain keeps the one that it had.",
	Fix:    "Put authorities into the bundle instead of the clients' own certificates, and leave out duplicates. " + upload + check,
	Source: guide,
})

// An expired certificate is an error where the server minds, and a warning
// where it evidently does not. What API Gateway does nobody has shown, so the
// request tells.
var (
	clientExpired = unless(passed, unshown(probes.Rule{
		ID:    "client-cert-expired",
		Title: "The client certificate has expired or is not yet valid",
		Means: "Load balancers, proxies and openssl refuse it in the handshake. API Gateway's guide lists validity among its checks, which would end in 403 Forbidden; " +
			"others report that it does not look. The request did not get through, so this may be the cause, or would be the next.",
		Fix: "Renew the certificate and install it with its key; the agent reads the files again by itself. If it looks not yet valid, check this machine's clock: `timedatectl`. " +
			"See the dates: `openssl x509 -in client.pem -noout -dates`.",
		Source: guide,
	}))
	clientOutdated = only(passed, renamed(clientExpired.ID, probes.Rule{
		ID:    "client-cert-expired-accepted",
		Title: "The client certificate has expired or is not yet valid, and the server does not mind",
		Means: "The request got through all the same: the server does not look at the dates, or does not ask for a certificate. " +
			"Others that do look, such as a load balancer put in front, will refuse it.",
		Fix:      "Renew the certificate and install it with its key; the agent reads the files again by itself. See the dates: `openssl x509 -in client.pem -noout -dates`.",
		Source:   guide,
		Severity: probes.Warning,
	}))
)

// unshown completes a rule that the report names, and that an answer of API
// Gateway leaves open: it denies for many reasons, and whether for this one
// nobody has shown.
func unshown(r probes.Rule) *probes.Rule {
	rule := found(r)
	match := rule.Match
	rule.Match = func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		sure, because := match(seen)
		if len(seen.Ended("invoke", probes.Denied)) > 0 {
			sure = min(sure, probes.Possible)
		}
		return sure, because
	}
	return rule
}

// passed reports whether a request got past the server's judgement of the
// client certificate.
func passed(seen probes.Evidence) bool { return len(Passed(seen)) > 0 }

// only makes a rule match on a condition only.
func only(condition func(probes.Evidence) bool, r *probes.Rule) *probes.Rule {
	match := r.Match
	r.Match = func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		sure, because := match(seen)
		if sure == probes.No || !condition(seen) {
			return probes.No, nil
		}
		return sure, because
	}
	return r
}

// unless makes a rule match without a condition only.
func unless(condition func(probes.Evidence) bool, r *probes.Rule) *probes.Rule {
	return only(func(seen probes.Evidence) bool { return !condition(seen) }, r)
}

var clientExpiring = found(probes.Rule{
	ID:       "client-cert-expiring",
	Title:    "The client certificate expires within 30 days",
	Means:    "When it has expired, servers that check it refuse every call. One that lives for less than 120 days is warned of in the last quarter of its life only: by then what renews it has failed.",
	Fix:      "Renew the certificate and install it with its key; the agent reads the files again by itself.",
	Source:   guide,
	Severity: probes.Warning,
})

var noClientAuth = found(probes.Rule{
	ID:    "client-cert-no-client-auth",
	Title: "The client certificate is not meant for clients",
	Means: "Its extended key usage names other purposes, but not TLS client authentication. Load balancers and other servers refuse it; " +
		"API Gateway documents no such check.",
	Fix:      "Issue it anew with `extendedKeyUsage = clientAuth`. See: `openssl x509 -in client.pem -noout -ext extendedKeyUsage`.",
	Source:   "RFC 5280, section 4.2.1.12",
	Severity: probes.Warning,
})

var bundleUnreadable = found(probes.Rule{
	ID:       "truststore-unreadable",
	Title:    "The copy of the truststore cannot be read",
	Means:    "Without it the agent cannot say whether API Gateway would accept the client certificate.",
	Fix:      "Fetch the bundle: `aws s3 cp s3://BUCKET/KEY bundle.pem`, readable for the agent, or take client_certificate.truststore out of the target.",
	Source:   article,
	Severity: probes.Warning,
})

var bundleWarnings = found(probes.Rule{
	ID:    "truststore-warnings",
	Title: "The truststore holds certificates that will fail, though not this client's",
	Means: "Some certificates of the bundle have expired or use algorithms that API Gateway does not accept. This target's client does not depend on them; others may.",
	Fix: "Remove or renew the certificates named in the notes. See API Gateway's own warnings: " +
		"`aws apigateway get-domain-name --domain-name NAME --query mutualTlsAuthentication.truststoreWarnings`. " + upload,
	Source:   article + "; " + guide,
	Severity: probes.Warning,
})
