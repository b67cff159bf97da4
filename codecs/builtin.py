"""The codecs that come with the project: one entry each, which imports nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A codec that can be named."""

    name: str
    variants: tuple[str, ...]
    """Joined to the name by colons; several where they do not exclude each other."""
    aliases: tuple[str, ...]
    summary: str
    target: str
    """`module:function` of the factory."""
    problem: str = ""
    """Why an entry point cannot be used."""
    defaults: tuple[str, ...] = ()
    """Variants that say what is so anyway: the codec's own name leaves them out."""
    decoder: str = ""
    """`module:function` of a factory that does with less: for where nothing is encoded."""
    from_files: str = ""
    """`module:function` of the factory that takes a variant and weights of the user's, the path
    that follows an `@`; see `codecs.checkpoints`."""
    network: str = ""
    """`module:class` of the network that `python -m codecs.train NAME` trains."""


BUILT_IN = (
    Entry(
        "jpeg",
        ("420", "444", "optimised"),
        (),
        "JPEG 4:2:0, standard tables (libjpeg-turbo)",
        "codecs.pillow:jpeg",
        defaults=("420",),
    ),
    Entry("jpeg2000", (), (), "JPEG 2000, 9/7 wavelet (OpenJPEG)", "codecs.pillow:jpeg2000"),
    Entry(
        "webp",
        ("lossless",),
        (),
        "WebP, lossy, method 6 (libwebp); or without loss",
        "codecs.pillow:webp",
    ),
    Entry("png", (), (), "PNG, without loss, level 9 (zlib)", "codecs.pillow:png"),
    Entry(
        "avif",
        ("420", "444", "speed-2", "speed-4", "speed-6", "psnr", "ssim", "iq"),
        (),
        "AVIF 4:4:4, speed 6, tune psnr (libaom)",
        "codecs.pillow:avif",
        defaults=("444", "speed-6", "psnr"),
    ),
    Entry(
        "jxl",
        (*(f"effort-{effort}" for effort in range(3, 10)), "lossless"),
        (),
        "JPEG XL, VarDCT, effort 7 (libjxl); or without loss",
        "codecs.jxl:codec",
        defaults=("effort-7",),
    ),
    Entry(
        "hevc",
        ("bt601", "bt709"),
        ("bpg",),
        "HEVC intra 4:4:4 8 bit (x265; the coder inside BPG)",
        "codecs.hevc:codec",
        defaults=("bt601",),
    ),
    Entry(
        "vvenc",
        ("faster", "fast", "medium", "slow", "slower", "qpa", "chroma-3", "chroma-6", "vvencapp"),
        (),
        "VVC by VVenC, preset slower, one intra frame, 4:2:0 10 bit, perceptual QPA off",
        "codecs.vvc:codec",
        defaults=("slower",),
    ),
    Entry(
        "vtm",
        ("420", "444"),
        (),
        "VVC by its reference software VTM, one intra frame, 4:4:4 10 bit (to be built by you)",
        "codecs.reference:vtm",
        defaults=("444",),
        decoder="codecs.reference:vtm_decoder",
    ),
    Entry(
        "hm",
        ("420", "444"),
        (),
        "HEVC by its reference software HM, one intra frame, 4:4:4 10 bit (to be built by you)",
        "codecs.reference:hm",
        defaults=("444",),
        decoder="codecs.reference:hm_decoder",
    ),
    Entry(
        "rdonet",
        ("zero-pass", "one-pass", "full", "latents"),
        (),
        "RDONet, learned with LPIPS; block sizes by variance (zero-pass)",
        "codecs.rdonet.codec:create",
        defaults=("zero-pass",),
        network="codecs.rdonet.network:RDONet",
    ),
    Entry(
        "rdonet-msssim",
        ("zero-pass", "one-pass", "full", "latents"),
        (),
        "RDONet, learned for MSE and MS-SSIM; block sizes by variance (zero-pass)",
        "codecs.rdonet.codec:create_msssim",
        defaults=("zero-pass",),
    ),
    Entry(
        "factorised",
        ("bfloat16", "latents"),
        (),
        "Fully factorised prior, Ballé et al. 2017, learned for MSE",
        "codecs.factorised:create",
        network="codecs.factorised:FactorisedNetwork",
    ),
    Entry(
        "hyperprior",
        ("bfloat16", "latents"),
        (),
        "Scale hyperprior, Ballé et al. 2018, learned for MSE",
        "codecs.hyperprior:create",
        network="codecs.hyperprior:ScaleHyperprior",
    ),
    Entry(
        "mean-scale",
        ("bfloat16", "latents"),
        (),
        "Mean and scale hyperprior, Minnen et al. 2018, learned for MSE",
        "codecs.mean_scale:create",
        network="codecs.mean_scale:MeanScale",
    ),
    Entry(
        "minnen",
        ("bfloat16", "latents"),
        (),
        "Minnen et al. 2018, learned for MSE and MS-SSIM; joint autoregressive and "
        "hierarchical priors",
        "codecs.minnen:create",
        network="codecs.minnen:Minnen",
    ),
    Entry(
        "minnen-mse",
        ("bfloat16", "latents"),
        (),
        "Minnen et al. 2018, learned for MSE",
        "codecs.minnen:create_mse",
    ),
    Entry(
        "lee2019",
        ("bfloat16", "latents"),
        (),
        "Lee et al. 2019, learned for MSE; contexts with and without bits",
        "codecs.lee2019:create",
        network="codecs.lee2019:Lee2019",
    ),
    Entry(
        "cheng2020",
        ("bfloat16", "latents"),
        (),
        "Cheng et al. 2020, learned for MSE; attention, mixtures of three Gaussians",
        "codecs.cheng2020:create",
        network="codecs.cheng2020:Cheng2020",
    ),
    Entry(
        "choi2019",
        ("bfloat16", "latents"),
        (),
        "Conditional autoencoder, Choi et al. 2019, learned for MSE; one network, any rate",
        "codecs.choi2019:create",
        network="codecs.choi2019:Choi2019",
    ),
    Entry(
        "hu2020",
        ("bfloat16", "latents"),
        (),
        "Coarse-to-fine hyper-latents, Hu et al. 2020, learned for MSE",
        "codecs.hu2020:create",
        network="codecs.hu2020:Hu2020",
    ),
    Entry(
        "mentzer2018",
        ("bfloat16",),
        (),
        "Mentzer et al. 2018, learned for MSE and MS-SSIM; importance map, learned centres, 3-D "
        "context",
        "codecs.mentzer:create",
        network="codecs.mentzer:Mentzer",
    ),
    Entry(
        "learned-jpeg",
        (),
        (),
        "JPEG files with learned tables and pre-editing, Strümpler et al. 2020, learned with "
        "LPIPS; any JPEG decoder opens them",
        "codecs.learned_jpeg:create",
        network="codecs.learned_jpeg:LearnedJpeg",
    ),
    Entry(
        "toderici2016",
        (),
        (),
        "Recurrent networks in 16 passes, Toderici et al. 2016; streams may be cut",
        "codecs.toderici:create_2016",
        network="codecs.toderici:Toderici2016",
    ),
    Entry(
        "toderici2017",
        (),
        (),
        "Recurrent networks in 16 passes with a model of bits, Toderici et al. 2017; streams may "
        "be cut",
        "codecs.toderici:create_2017",
        network="codecs.toderici:Toderici2017",
    ),
    Entry(
        "toderici2017-deep",
        (),
        (),
        "The same with a deeper recurrence, after Johnston et al. 2018",
        "codecs.toderici:create_2017_deep",
        network="codecs.toderici:Toderici2017Deep",
    ),
    Entry(
        "gc2019",
        ("bfloat16", "selective"),
        (),
        "Agustsson et al. 2019, up to 0.15 bpp, learned with LPIPS and PatchGAN; selective: half "
        "of the blocks are only synthesised",
        "codecs.agustsson:create",
        network="codecs.agustsson:Generative",
    ),
    Entry(
        "iwave",
        ("lossless",),
        (),
        "iWave++, Ma et al. 2020, learned for MSE: trained wavelet transform; or without loss",
        "codecs.iwave.codec:create",
        network="codecs.iwave.network:IWave",
    ),
    Entry(
        "hific",
        ("bfloat16", "latents"),
        (),
        "HiFiC, Mentzer et al. 2020: learned for MSE and LPIPS, and by a conditional GAN",
        "codecs.hific:create",
        network="codecs.hific:HiFiC",
    ),
    Entry(
        "compressai",
        (
            "mbt2018",
            "mbt2018-mean",
            "bmshj2018-hyperprior",
            "bmshj2018-factorized",
            "bmshj2018-factorized-relu",
            "cheng2020-anchor",
            "cheng2020-attn",
            "ms-ssim",
        ),
        (),
        "CompressAI's pretrained models, mbt2018, or with weights of yours: "
        "compressai:mbt2018@./ckpt-{value}.pth (optional package)",
        "codecs.compressai_models:create",
        from_files="codecs.compressai_models:from_files",
    ),
)
