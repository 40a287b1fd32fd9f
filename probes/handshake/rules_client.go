package handshake

import (
	"fmt"
	"slices"
	"strings"

	"vpcprobe/probes"
	"vpcprobe/probes/identify"
	"vpcprobe/probes/resolve"
)

var required = &probes.Rule{
	ID:    "client-cert-required",
	Title: "The server requires a client certificate, and none was sent",
	Means: "The server asked for a client certificate, the target has none configured, and the server then ended the connection. " +
		"With mutual TLS, API Gateway custom domains and load balancers cut the connection inside the handshake: " +
		"clients see a connection reset and no HTTP answer at all.",
	Fix: "Give the target client_certificate.certificate and client_certificate.key, and give the real callers theirs " +
		"(`curl --cert client.pem --key client.key`). If mutual TLS is not meant to be on: " +
		"`aws apigateway get-domain-name --domain-name NAME --query mutualTlsAuthentication`.",
	Source: mutualTLS + "; RFC 8446, section 6.2 (certificate_required)",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		return alertOrCut(append(find(seen, missesCertificate), findLate(seen, false)...))
	},
	Notes: notesClient,
}

var rejected = &probes.Rule{
	ID:    "client-cert-rejected",
	Title: "The server rejects the client certificate in the TLS handshake",
	Means: "The server asked for a client certificate, got the target's, and ended the connection: it does not trust its issuer, or finds it " +
		"expired, revoked or unfit. Load balancers and proxies reject in the handshake; API Gateway custom domains complete the " +
		"handshake and answer 403 instead, so this is most likely not API Gateway itself.",
	Fix: "Compare the certificate with the server's trust store: `vpcprobe cert --certificate client.pem --key client.key --truststore bundle.pem`. " +
		"For an Application Load Balancer: `aws elbv2 get-trust-store-ca-certificates-bundle --trust-store-arn ARN`, and its connection logs " +
		"name the reason (tls_verify_status).",
	Source: mutualTLS + "; RFC 8446, section 6.2",
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		if FilesExplain(seen) {
			return probes.No, nil
		}
		return alertOrCut(append(find(seen, rejectsCertificate), findLate(seen, true)...))
	},
	Notes: notesClient,
}

var copyDiffers = &probes.Rule{
	ID:    "truststore-copy-differs",
	Title: "The server accepts the client certificate, and by the copy of the truststore it should not",
	Means: "The server asked for the client certificate, got it and let the request pass. So it goes by another truststore than the file that the target names: " +
		"the copy is out of date, or what asks is no API Gateway but a load balancer or proxy, whose rules are others. Callers are not affected; what this target judges by is.",
	Fix: "Fetch the truststore in use: `aws apigateway get-domain-name --domain-name NAME --query mutualTlsAuthentication` names it, `aws s3 cp s3://BUCKET/KEY bundle.pem` gets it; " +
		"for an Application Load Balancer `aws elbv2 get-trust-store-ca-certificates-bundle --trust-store-arn ARN`. Or take client_certificate.truststore out of the target.",
	Source:   mutualTLS,
	Severity: probes.Warning,
	Match: func(seen probes.Evidence) (probes.Certainty, []probes.Observation) {
		if !refuted(seen) {
			return probes.No, nil
		}
		for _, r := range identify.Refutable() {
			if sure, because := r.Match(seen); sure != probes.No {
				return probes.Certain, because
			}
		}
		return probes.No, nil
	},
	Notes: func(seen probes.Evidence, because []probes.Observation) []string {
		var notes []string
		for _, o := range because {
			notes = append(notes, "by the copy: "+o.Err.Error())
		}
		return notes
	},
}

// Refine drops what the truststore's copy says of the client certificate where
// the server has shown that it goes by another one, and says where the files are
// not those that were shown. See [probes.Kind].
func Refine(seen probes.Evidence, found []probes.Finding) []probes.Finding {
	if refuted(seen) {
		return slices.DeleteFunc(found, func(f probes.Finding) bool { return slices.Contains(identify.Refutable(), f.Rule) })
	}
	notes := NotesReplaced(seen, nil)
	if notes == nil {
		return found
	}
	found = slices.Clone(found)
	for i, f := range found {
		if slices.Contains(identify.Rules, f.Rule) {
			found[i].Notes = slices.Concat(f.Notes, notes)
		}
	}
	return found
}

// FilesExplain reports whether the client's files show why a server refuses the
// client: by them it is to be refused, they are what was shown, and no server
// took it.
func FilesExplain(seen probes.Evidence) bool {
	return identify.Refused(seen) && !replaced(seen) && !refuted(seen)
}

// refuted reports whether a server that asked for the client certificate, and
// got it, took it, though the files speak against that. Then they explain no
// refusal by another either.
func refuted(seen probes.Evidence) bool {
	return identify.Refused(seen) && !replaced(seen) && slices.ContainsFunc(identify.Passed(seen), func(o probes.Observation) bool {
		return slices.ContainsFunc(seen.Of(name), func(h probes.Observation) bool {
			d := Of(h)
			return h.Via == o.Via && h.Addr == o.Addr && d != nil && d.Asked && d.Sent
		})
	})
}

// replaced reports whether a server was shown another client certificate than
// the one that was judged: its files were replaced in between, and tell nothing
// of what that server saw.
func replaced(seen probes.Evidence) bool {
	return slices.ContainsFunc(seen.Of(identify.Kind.Name), func(o probes.Observation) bool {
		r := identify.Of(o)
		return r != nil && len(r.Client) > 0 && slices.ContainsFunc(seen.Of(name), func(h probes.Observation) bool {
			d := Of(h)
			return d != nil && d.shown != nil && !r.About(*d.shown)
		})
	})
}

// NotesReplaced says so. It is a [probes.Rule]'s Notes.
func NotesReplaced(seen probes.Evidence, _ []probes.Observation) []string {
	if !replaced(seen) {
		return nil
	}
	return []string{"the client certificate was replaced meanwhile: the one that was judged on disk is not the one that a server was shown, and neither tells of the other"}
}

// missesCertificate: the server asked, had nothing, and ended it.
func missesCertificate(o probes.Observation, d *Detail) bool {
	return d.Asked && !d.Sent && (isCut(o) || o.Outcome == probes.Rejected && concernsCertificate(d))
}

// rejectsCertificate: the server asked, saw ours, and ended it.
func rejectsCertificate(o probes.Observation, d *Detail) bool {
	return d.Asked && d.Sent && (isCut(o) || o.Outcome == probes.Rejected && (d.unsigned || concernsCertificate(d)))
}

// concernsCertificate reports whether an alert that follows a request for a
// client certificate is about that. Before it a handshake_failure means that
// no cipher is shared, after it that the certificate is missing or unfit
// (RFC 5246, section 7.4.6).
func concernsCertificate(d *Detail) bool {
	return slices.Contains([]uint8{alertHandshakeFailure, alertBadCertificate, alertUnsupported, alertRevoked, alertExpired,
		alertCertificateUnknown, alertUnknownCA, alertAccessDenied, alertDecryptError, alertCertificateRequired}, d.AlertCode)
}

// next is the kind that reads first on a connection after the handshake. In
// TLS 1.3 it is that one which hears the server's verdict on the client
// certificate, and ends as rejected. Its outcome is all that is read of it.
const next = "invoke"

// findLate returns the observations of the step that reads first, where it was
// cut off by a server that had asked for a client certificate in the handshake
// and had got one, or none.
func findLate(seen probes.Evidence, sent bool) []probes.Observation {
	return probes.Filter(seen.Ended(next, probes.Rejected), func(o probes.Observation) bool {
		return slices.ContainsFunc(seen.Of(name), func(h probes.Observation) bool {
			d := Of(h)
			return h.Via == o.Via && h.Addr == o.Addr && h.Outcome == probes.OK &&
				d != nil && d.Asked && d.Sent == sent && resolve.Inside(seen, o.Addr.Addr())
		})
	})
}

// alertOrCut grades what a server did after it had asked for a certificate: an
// alert says why, a cut only suggests it.
func alertOrCut(obs []probes.Observation) (probes.Certainty, []probes.Observation) {
	isAlert := func(o probes.Observation) bool {
		d := Of(o)
		return d != nil && (d.Alert != "" || d.unsigned)
	}
	if slices.ContainsFunc(obs, isAlert) {
		return probes.Certain, obs
	}
	return likely(obs)
}

// notesClient says how each lane ended, and what came with the first read.
func notesClient(seen probes.Evidence, obs []probes.Observation) []string {
	notes := perLane(noteClient)(seen, obs)
	for _, o := range obs {
		if Of(o) == nil && o.Err != nil {
			notes = append(notes, fmt.Sprintf("%s: the handshake seemed to go well, and the first read brought the verdict: %v", o.Addr.Addr(), o.Err))
		}
	}
	return notes
}

func noteClient(_ probes.Evidence, o probes.Observation, d *Detail) string {
	var notes []string
	switch {
	case d.unsigned:
		notes = append(notes, "the server accepts none of the signatures that the client key can make")
	case d.Alert != "":
		notes = append(notes, "the server sent the alert "+d.Alert)
	default:
		notes = append(notes, fmt.Sprintf("%s, without an alert, after the server had asked for a client certificate", o.Outcome))
	}
	if d.IssuerListed != nil && !*d.IssuerListed {
		notes = append(notes, "the issuer of the client certificate is not among the authorities that the server says it accepts: "+
			strings.Join(d.AcceptableCAs[:min(len(d.AcceptableCAs), 5)], "; "))
	}
	return strings.Join(notes, "; ")
}
