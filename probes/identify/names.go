package identify

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
)

// The library holds authorities to their limits on DNS names, addresses, mail
// and URIs, and gives up on the others. Limits on the subject itself matter
// most for clients, which often have no other name.

var oidNameConstraints = asn1.ObjectIdentifier{2, 5, 29, 30}

// tagDirectoryName is the form of a name that is a subject (RFC 5280, section
// 4.2.1.6).
const tagDirectoryName = 4

// limits are an authority's limits on the subjects below it.
type limits struct {
	permitted, excluded [][]asn1.RawValue // the parts of each name
	others              bool              // there are limits of forms that nobody here understands
}

// withoutNameLimits checks the limits on subjects, and returns the path with
// those authorities' name constraints no longer marked as unhandled. The text
// says which limit is broken.
func withoutNameLimits(certs []*x509.Certificate) ([]*x509.Certificate, string) {
	handled := slices.Clone(certs)
	for i, c := range certs {
		if !slices.ContainsFunc(c.UnhandledCriticalExtensions, oidNameConstraints.Equal) {
			continue
		}
		l, ok := limitsOf(c)
		if !ok || l.others {
			continue
		}
		for _, below := range certs[:i] {
			if !l.allow(below.RawSubject) {
				return nil, scrub("the subject " + below.Subject.String() + " is not one that " + c.Subject.String() + " may issue to (name constraints)")
			}
		}
		bare := *c
		bare.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(c.UnhandledCriticalExtensions), oidNameConstraints.Equal)
		handled[i] = &bare
	}
	return handled, ""
}

func (l limits) allow(subject []byte) bool {
	name, ok := parts(subject)
	within := func(base []asn1.RawValue) bool { return hasPrefix(name, base) }
	return ok && !slices.ContainsFunc(l.excluded, within) &&
		(len(l.permitted) == 0 || slices.ContainsFunc(l.permitted, within))
}

// limitsOf reads the name constraints of an authority (RFC 5280, section
// 4.2.1.10).
func limitsOf(c *x509.Certificate) (l limits, ok bool) {
	i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidNameConstraints) })
	if i < 0 {
		return l, false
	}
	var both struct {
		Permitted []asn1.RawValue `asn1:"optional,tag:0"`
		Excluded  []asn1.RawValue `asn1:"optional,tag:1"`
	}
	if rest, err := asn1.Unmarshal(c.Extensions[i].Value, &both); err != nil || len(rest) > 0 {
		return l, false
	}
	return l, l.add(&l.permitted, both.Permitted) && l.add(&l.excluded, both.Excluded)
}

// add notes the subtrees that limit subjects.
func (l *limits) add(to *[][]asn1.RawValue, subtrees []asn1.RawValue) bool {
	for _, s := range subtrees {
		var base asn1.RawValue
		if _, err := asn1.Unmarshal(s.Bytes, &base); err != nil {
			return false
		}
		switch base.Tag {
		case 1, 2, 6, 7: // mail, DNS, URI and address, which the library handles
		case tagDirectoryName:
			name, ok := parts(base.Bytes)
			if !ok {
				return false
			}
			*to = append(*to, name)
		default:
			l.others = true
		}
	}
	return true
}

// parts splits a name into its relative distinguished names.
func parts(der []byte) ([]asn1.RawValue, bool) {
	var rdns []asn1.RawValue
	rest, err := asn1.Unmarshal(der, &rdns)
	return rdns, err == nil && len(rest) == 0
}

func hasPrefix(name, base []asn1.RawValue) bool {
	return len(name) >= len(base) && slices.EqualFunc(name[:len(base)], base, samePart)
}

// samePart compares two relative distinguished names. Strings are compared
// without regard to case, encoding and extra space (RFC 5280, section 7.1).
func samePart(a, b asn1.RawValue) bool {
	if bytes.Equal(a.FullBytes, b.FullBytes) {
		return true
	}
	var p, q pkix.RelativeDistinguishedNameSET
	if _, err := asn1.UnmarshalWithParams(a.FullBytes, &p, "set"); err != nil {
		return false
	}
	if _, err := asn1.UnmarshalWithParams(b.FullBytes, &q, "set"); err != nil {
		return false
	}
	return slices.EqualFunc(p, q, func(x, y pkix.AttributeTypeAndValue) bool {
		s, ok := x.Value.(string)
		t, also := y.Value.(string)
		return ok && also && x.Type.Equal(y.Type) && strings.EqualFold(strings.Join(strings.Fields(s), " "), strings.Join(strings.Fields(t), " "))
	})
}
