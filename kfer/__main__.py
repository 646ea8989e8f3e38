from kfer.cli import main

main()
