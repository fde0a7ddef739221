"""Run the frozen image encoder over an augmented corpus once and keep what it said, for stages 1 and 2.

    python train/encode_corpus.py --corpus corpora/synthetic --image_encoder runs/hand_framing/model \
        --out corpora/conditions

Best are samples that the image encoder was *not* trained on (another seed, or `--skip`): on those that it was trained
on its errors are smaller than on new images, and the stages behind it learn to trust it too much.
"""

from handdiff_training.encoding import encode_split
from handdiff_training.flags import BUNDLED, FlagParser, load_model, run
from handdiff_training.small_corpus import corpus_source

from hf_handdiff.models import HandImageEncoder


def main(argv=None):
    """Parse the flags and write the data set."""
    parser = FlagParser(__doc__)
    add = parser.add_argument
    add("--corpus", required=True, help="folder or Hub id of a corpus; small: that of a first training")
    add("--split", default="train")
    add("--image_encoder", default=BUNDLED, help="folder or Hub id of the trained HandImageEncoder")
    add("--out", required=True, help="folder; other splits in it stay")
    add("--out_split", help="name of the split in --out; default: --split")
    add("--estimates", action="store_true", help="keep the estimated points instead of likely ones: for single stages")
    add("--passes", type=int, default=1, help="augmented passes over the corpus")
    add("--skip", type=int, default=0, help="leave out the first samples")
    add("--num_samples", type=int, help="use this many samples; default: all")
    add("--half", action="store_true", help="run the encoder in bfloat16: twice as fast on CPUs that have it")
    add("--batch_size", type=int, default=64)
    add("--seed", type=int, default=0)
    args = vars(parser.parse_args(argv))
    encoder = load_model(HandImageEncoder, args.pop("image_encoder"), "image_encoder").eval()
    encode_split(encoder, corpus_source(args.pop("corpus")), args.pop("split"), args.pop("out"), **args)


if __name__ == "__main__":
    run(main)
