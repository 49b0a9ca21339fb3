// Command where says where it was installed: its binary holds the placeholder that conda replaces with the
// prefix at installation. It is the binary file with a prefix of the offline package world's channel.
package main

import (
	"fmt"
	"strings"
)

// The string ends in a NUL, as a C string does, so that the replacement knows where it ends.
const share = "/home/world/_env_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_pla" +
	"cehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_placehold_pla" +
	"cehold_placehold_placehold_placehold_placehold_placehol" +
	"/share\x00"

func main() {
	where, _, _ := strings.Cut(share, "\x00")
	fmt.Println(where)
}
