package docker

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keyring collects the keys that are offered to a host, and says afterwards which they were and
// which could not be used.
type keyring struct {
	signers []ssh.Signer
	names   []string // of signers
	unused  []string // keys that could not be offered, with the reason
	certs   []string // files of certificates, for keys of whatever place
	agent   net.Conn // signers of the agent need it until the handshake is over
}

func (k *keyring) close() {
	if k.agent != nil {
		k.agent.Close() // nothing was written that could be lost
	}
}

// newKeyring reads the hop's own keys, the default identities, and asks the agent, in this order, up to the options'
// limit. If the hop's configuration says so, the agent's other keys are not shown to the host.
func newKeyring(h hop, o Options) *keyring {
	k := &keyring{certs: h.certs}
	own, identities, limit := h.keys, o.Identities, o.MaxKeys
	inAgent := k.askAgent(o.Agent)
	for i, file := range slices.Concat(own, identities) {
		if file == "" || slices.Contains(own[:min(i, len(own))], file) {
			continue
		}
		k.addFile(file, inAgent, i < len(own))
	}
	for _, s := range inAgent {
		if !h.only || isOf(s, slices.Concat(own, identities)) {
			k.addCerts(s)
			k.add(s, "agent")
		}
	}
	if len(k.signers) > limit {
		for _, n := range k.names[limit:] {
			k.unused = append(k.unused, n+": hosts accept only a few tries; name the key in the inventory or in "+
				"~/.ssh/config")
		}
		k.signers, k.names = k.signers[:limit], k.names[:limit]
	}
	return k
}

// isOf tells whether a key of the agent is that of a public key beside one of some files.
func isOf(s ssh.Signer, files []string) bool {
	return slices.ContainsFunc(files, func(file string) bool {
		data, err := os.ReadFile(strings.TrimSuffix(file, ".pub") + ".pub")
		if err != nil {
			return false
		}
		key, _, _, _, err := ssh.ParseAuthorizedKey(data)
		return err == nil && bytes.Equal(key.Marshal(), s.PublicKey().Marshal())
	})
}

func (k *keyring) askAgent(socket string) []ssh.Signer {
	if socket == "" || socket == "none" {
		return nil
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		k.unused = append(k.unused, fmt.Sprintf("SSH agent: %v", err))
		return nil
	}
	k.agent = conn
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		k.unused = append(k.unused, fmt.Sprintf("SSH agent: %v", err))
	}
	return signers
}

func (k *keyring) add(s ssh.Signer, from string) {
	pub := s.PublicKey().Marshal()
	for _, have := range k.signers {
		if bytes.Equal(have.PublicKey().Marshal(), pub) {
			return
		}
	}
	k.signers = append(k.signers, s)
	k.names = append(k.names, fmt.Sprintf("%s (%s %s)", from, s.PublicKey().Type(),
		ssh.FingerprintSHA256(s.PublicKey())))
}

// addFile reads a private key. An encrypted one is used through the agent when that has it. A
// missing one is worth a word only when the user named it.
func (k *keyring) addFile(file string, inAgent []ssh.Signer, named bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		if named || !errors.Is(err, os.ErrNotExist) {
			k.unused = append(k.unused, err.Error())
		}
		return
	}
	signer, err := ssh.ParsePrivateKey(data)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		for _, s := range inAgent {
			if locked.PublicKey != nil && bytes.Equal(s.PublicKey().Marshal(), locked.PublicKey.Marshal()) {
				k.addCerts(s, file+"-cert.pub")
				k.add(s, file+" in the agent")
				return
			}
		}
		k.unused = append(k.unused, fmt.Sprintf("%s: encrypted, and not in the SSH agent; run: ssh-add %s", file, file))
		return
	case err != nil:
		k.unused = append(k.unused, fmt.Sprintf("%s: %v", file, err))
		return
	}
	k.addCerts(signer, file+"-cert.pub")
	k.add(signer, file)
}

// addCerts adds the certificates of a key, from the named files and some more.
func (k *keyring) addCerts(signer ssh.Signer, more ...string) {
	for _, file := range slices.Concat(k.certs, more) {
		if cert := readCert(file); cert != nil {
			if s, err := ssh.NewCertSigner(cert, signer); err == nil { // else it is another key's
				k.add(s, file)
			}
		}
	}
}

func readCert(file string) *ssh.Certificate {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		return nil
	}
	cert, _ := pub.(*ssh.Certificate)
	return cert
}

// refused is the error of a host that accepted none of the keys.
func (k *keyring) refused(h hop, err error) error {
	var b strings.Builder
	fmt.Fprintf(&b, "authenticate as %q: ", h.user)
	switch {
	case len(k.names) == 0:
		b.WriteString("there is no key to offer")
	default:
		fmt.Fprintf(&b, "the host accepted none of: %s", strings.Join(k.names, ", "))
	}
	if len(k.unused) > 0 {
		fmt.Fprintf(&b, "; not offered: %s", strings.Join(k.unused, "; "))
	}
	if len(k.names) > 0 {
		fmt.Fprintf(&b, "; put the public key into ~/.ssh/authorized_keys of %q there, or name another key or user",
			h.user)
	} else {
		b.WriteString("; make one with ssh-keygen, or name one: ssh: {key: FILE} in cluster.yaml, or --identity FILE")
	}
	return fmt.Errorf("%s (%w)", b.String(), err)
}
