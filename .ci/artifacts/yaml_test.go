package artifacts

import (
	"bufio"
	"strings"
)

func newBuffered(text string) *bufio.Reader { return bufio.NewReader(strings.NewReader(text)) }
