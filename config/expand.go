package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// reference is what an expansion in a scalar of the file looks like.
var reference = regexp.MustCompile(`^\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${env:NAME} by the environment variable NAME, and $${ by ${.
// Any other ${ is a mistake. refers says whether there was a reference.
func (d *decoder) expand(s string) (expanded string, refers bool, err error) {
	if !strings.Contains(s, "${") {
		return s, false, nil
	}
	var b strings.Builder
	for s != "" {
		switch {
		case strings.HasPrefix(s, "$${"):
			b.WriteString("${")
			s = s[len("$${"):]
		case strings.HasPrefix(s, "${"):
			m := reference.FindStringSubmatch(s)
			if m == nil {
				return "", refers, errors.New("only ${env:NAME} is understood here: write $${ for a plain ${")
			}
			value, ok := d.env[m[1]]
			if !ok {
				return "", true, fmt.Errorf("the environment variable %s is not set", clip(m[1]))
			}
			d.mentioned[m[1]] = true
			b.WriteString(value)
			s, refers = s[len(m[0]):], true
		default:
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String(), refers, nil
}

// unexpanded is the text that expands to s.
func unexpanded(s string) string { return strings.ReplaceAll(s, "${", "$${") }
