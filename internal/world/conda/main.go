// Command conda is the stand-in.
package main

func main() {}
