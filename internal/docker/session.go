package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/ssh"
)

// session opens an SSH session on a link. Where sshd grants no more on this connection
// (MaxSessions), it opens a session on another one, which it makes the first time. It returns the
// link that carries the session.
func (l *link) session(ctx context.Context) (*ssh.Session, *link, error) {
	s, err := l.client.NewSession()
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return s, l, err
	}
	l.dialMu.Lock()
	defer l.dialMu.Unlock()
	for _, m := range l.alive() {
		if s, err := m.client.NewSession(); err == nil {
			return s, m, nil
		}
	}
	m, err := l.again(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("sshd grants no further session (%w), nor a further connection: %w", refused, err)
	}
	if s, err = m.client.NewSession(); err != nil {
		m.close(nil)
		return nil, nil, fmt.Errorf("sshd grants no session at all, see MaxSessions in its sshd_config: %w", err)
	}
	l.moreMu.Lock()
	l.more = append(l.more, m)
	l.moreMu.Unlock()
	if err := l.err(); err != nil { // it ended in the meantime, and did not see m
		m.close(nil)
		return nil, nil, err
	}
	return s, m, nil
}

// alive lists the further connections that there are.
func (l *link) alive() []*link {
	l.moreMu.Lock()
	defer l.moreMu.Unlock()
	l.more = slices.DeleteFunc(l.more, func(m *link) bool { return m.err() != nil })
	return slices.Clone(l.more)
}

// closeMore ends the further connections of a link that has ended.
func (l *link) closeMore() {
	l.moreMu.Lock()
	defer l.moreMu.Unlock()
	for _, m := range l.more {
		m.close(nil)
	}
	l.more = nil
}
