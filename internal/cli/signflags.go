package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/raybuild/raybuild"
)

// signFlags adds the flags of commands that push.
func signFlags(f *pflag.FlagSet, o *buildOptions) {
	f.StringVar(&o.sign, "sign", "", "sign the pushed image, as cosign does, before it gets its names, with `KEY`: "+
		"the file of a private key (password in COSIGN_PASSWORD), env://NAME, awskms://… (or gcpkms, azurekms, "+
		"hashivault), or keyless (the OIDC token of a CI job)")
	f.StringVar(&o.signConfig, "sign-config", "", "the servers for --sign keyless, a signing_config.json in `FILE` "+
		"(default: those of the public Sigstore)")
}

// trustFlag adds --trust.
func trustFlag(f *pflag.FlagSet, o *recipeOptions) {
	f.StringVar(&o.trust, "trust", "", "which images of registries are believed: none (everything is built), tag "+
		"(those whose text fits, whoever pushed them), or signed (of those, the ones signed by an identity of the "+
		"recipe's trust.signed_by) (default: signed if the recipe has identities, else tag)")
}

// billTrustFlag adds --trust of commands that only read bills of materials.
func billTrustFlag(cmd *cobra.Command, trust *string) {
	cmd.Flags().StringVar(trust, "trust", "", "which bills of materials attached to IMAGE may tell licences that "+
		"nothing else tells: none, tag (any), or signed (by an identity of trust.signed_by in the recipe here) "+
		"(default: signed if there is a recipe with identities, else tag)")
	completeTrust(cmd)
}

// unsignedBill warns of an attached bill that no identity of the recipe has signed.
func (a *app) unsignedBill(bill *raybuild.SBOM) {
	if bill.Attached == raybuild.AttachedUnsigned {
		a.warn("the bill of materials that is attached to %s is not believed: no identity of trust.signed_by has "+
			"signed it (%s)", bill.Ref, bill.Refused)
	}
}

// completeTrust adds shell completion for the values of --sign and --trust.
func completeTrust(cmd *cobra.Command) {
	completeValues(cmd, "trust", []string{"none", "tag", "signed"}, cobra.ShellCompDirectiveNoFileComp)
	if cmd.Flags().Lookup("sign") != nil {
		completeValues(cmd, "sign", []string{"keyless", "env://"}, cobra.ShellCompDirectiveNoSpace)
	}
}

// signOptions are the library's options for the flags.
func (a *app) signOptions(o *buildOptions) raybuild.SignOptions {
	return raybuild.SignOptions{Key: o.sign, Config: o.signConfig, Password: a.keyPassword}
}

// keyPassword asks the terminal for the password of a key. Without a terminal it is empty.
func (a *app) keyPassword() ([]byte, error) {
	in, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return []byte{}, nil
	}
	_, _ = fmt.Fprint(a.stderr, "Password of the key: ")
	password, err := term.ReadPassword(int(in.Fd()))
	_, _ = fmt.Fprintln(a.stderr)
	if err != nil {
		return nil, fmt.Errorf("read password from the terminal: %w", err)
	}
	return password, nil
}
